"""Which of two consents counts, and how large metrics may be: a server that is wrong about it is found."""

from __future__ import annotations

import pytest

from simulator.contract.answers import Answer
from tests.attacks.planting import planted
from tests.attacks.playing import World

VIEWS, CONSENTS, HEARTBEATS = "core.views", "core.consents", "core.heartbeats"
NEWEST = "next((consent for consent in reversed(worker.consents.values()) if consent.revoked_ns is None), None)"
ACCEPTED, NO_CONSENT, MALFORMED, REFUSED = (
    Answer.ACCEPTED,
    Answer.NO_CONSENT,
    Answer.MALFORMED_FIELDS,
    Answer.REFUSED,
)


@pytest.mark.parametrize(
    ("picked", "wrong_policies", "expected"),
    [
        ("next((one for one in worker.consents.values() if one.revoked_ns is None), None)", 1, []),
        ("next(iter(worker.consents.values()), None)", 1, [REFUSED]),
        ("next(reversed(worker.consents.values()), None)", 1, [REFUSED]),
    ],
)
def test_another_consent_than_the_newest_that_is_not_revoked_is_found(
    picked: str, wrong_policies: int, expected: list[Answer]
) -> None:
    with planted((VIEWS, "worker_policy", NEWEST, picked)):
        performance = World().play("consent.newest")
    assert [one.rule for one in performance.broken] == ["its-policy"] * wrong_policies
    assert [one.expect.answer for one in performance.wrong] == expected


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ((CONSENTS, "end_consent", "consent.revoked_ns = at.wall_ns",
          "[setattr(one, 'revoked_ns', at.wall_ns) for one in state.workers[consent.worker_id].consents.values()]"),
         [ACCEPTED, ACCEPTED]),
        ((HEARTBEATS, "verify", "if consent is None or consent.revoked_ns is not None:",
          "if consent is None or consent.revoked_ns or consent is not next(reversed(worker.consents.values())):"),
         [ACCEPTED, ACCEPTED]),
        ((HEARTBEATS, "verify", "if consent is None or consent.revoked_ns is not None:",
          "if all(one.revoked_ns for one in worker.consents.values()):"), [NO_CONSENT]),
    ],
)  # fmt: skip
def test_a_revoke_of_one_consent_that_is_about_another_is_found(
    edit: tuple[str, str, str, str], expected: list[Answer]
) -> None:
    edits = [edit]
    if "all(one" in edit[3]:
        edits.append((HEARTBEATS, "_accept", "worker.consents[policy_id].revoked_ns is not None", "False"))
    with planted(*edits):
        performance = World().play("consent.newest")
    assert [one.expect.answer for one in performance.wrong] == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("or len(metrics) > METRICS_MAX_BYTES", "", [MALFORMED] * 2),
        ("len(metrics) > METRICS_MAX_BYTES", "len(metrics) > 2 * METRICS_MAX_BYTES", [MALFORMED]),
        ("len(metrics) > METRICS_MAX_BYTES", "len(metrics) >= METRICS_MAX_BYTES", [ACCEPTED]),
        ("and nests_deeper(metrics, METRICS_MAX_DEPTH)", "and False", [MALFORMED] * 2),
        ("brackets > METRICS_MAX_DEPTH and nests_deeper(metrics, METRICS_MAX_DEPTH)", "nests_deeper(metrics, 4)",
         [ACCEPTED] * 2),
        (' - len(metrics.replace(b"{", b"").replace(b"[", b""))', ' - len(metrics.replace(b"{", b""))', [MALFORMED]),
    ],
)  # fmt: skip
def test_another_bound_for_metrics_is_found(old: str, new: str, expected: list[Answer]) -> None:
    with planted((HEARTBEATS, "malformed", old, new)):
        performance = World().play("nonce.oversized")
    assert [one.expect.answer for one in performance.wrong] == expected
