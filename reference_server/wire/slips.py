"""Slips of the hand in names: of a setting, of a flag's variable."""

from __future__ import annotations


def is_one_slip(name: str, meant: str) -> bool:
    """Return whether a name differs by a letter that is missing, too many, wrong or changed places with the next.

    Not by its first one: the environment is full of other programs' names, such as `MTLS_KEY_FILE`.
    """
    pairs = enumerate(zip(name, meant, strict=False))
    same = next((at for at, (one, other) in pairs if one != other), min(len(name), len(meant)))
    wrong, right = name[same:], meant[same:]
    swapped = right[1::-1] + right[2:]
    return same > 0 and wrong != right and (wrong[1:] in {right, right[1:]} or wrong in {right[1:], swapped})
