"""Verifying a run: whatever was changed in its folder is found and named, and another verdict is never overlooked."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.bundle import manifest
from simulator.bundle.verify import compare, read_verdict, verify_bundle
from simulator.checkers.verdict import Status
from simulator.errors import BundleError
from tests.report.runs import broken, hostile, uneventful, unknown, written
from tests.support.tiers import examples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from simulator.history.rows import History

EVIDENCE = {"run.json", "verdict.json", "scenario.toml"}
VIEWS = {"report.html", "junit.xml", "findings.sarif", "summary.md", "metrics.om", "gates.md"}


def files_of(folder: Path) -> dict[str, Path]:
    return manifest.list_files(folder)


def digest_of(folder: Path) -> str:
    return "sha256:" + hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()


@pytest.mark.parametrize("make", [uneventful, broken, unknown, hostile])
def test_an_untouched_run_is_genuine_and_leads_to_its_verdict_again(
    tmp_path: Path, make: Callable[[], tuple[Any, History]]
) -> None:
    verdict, done = written(tmp_path / "run", make())
    assert done.warnings == []
    found = verify_bundle(tmp_path / "run", done.digest)
    assert (found.altered, found.differs, found.genuine) == ([], [], True)
    assert (found.digest, found.status) == (digest_of(tmp_path / "run"), verdict.status.value)


def test_the_manifest_lists_every_file_with_its_digest_and_size(bundle: Path) -> None:
    listed = json.loads((bundle / "manifest.json").read_bytes())["files"]
    assert set(listed) >= EVIDENCE | VIEWS | {"history/rows.npz", "history/claims.ndjson.gz"}
    assert set(listed) == {
        path.relative_to(bundle).as_posix()
        for path in bundle.rglob("*")
        if path.is_file() and path.name != manifest.FILE
    }
    for name, entry in listed.items():
        content = (bundle / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(150), deadline=None)
@given(st.data())
def test_a_flipped_bit_in_any_file_is_found(bundle: Path, data: st.DataObject) -> None:
    """The manifest's own bits included, even where nobody knows its digest."""
    name = data.draw(st.sampled_from([*files_of(bundle), manifest.FILE]))
    path = bundle / name
    before = path.read_bytes()
    place = data.draw(st.integers(0, len(before) - 1))
    after = bytearray(before)
    after[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(after)
    try:
        found = verify_bundle(bundle)
    except BundleError as error:
        assert name == manifest.FILE, error  # noqa: PT017 - a manifest that nobody can read proves nothing
    else:
        assert found.altered
        if name != manifest.FILE:
            assert found.altered == [f"{name} was altered"]
    finally:
        path.write_bytes(before)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(40), deadline=None)
@given(st.data())
def test_a_file_that_is_cut_longer_missing_or_replaced_by_a_link_is_found(bundle: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(files_of(bundle))))
    path, aside = bundle / name, bundle.parent / "aside"
    before = path.read_bytes()
    how = data.draw(st.sampled_from(["cut", "longer", "missing", "link"]))
    if how in ("cut", "longer"):
        path.write_bytes(before[:-1] if how == "cut" else before + b"\n")
        size = len(before) + (1 if how == "longer" else -1)
        output = f"{name} was altered, {size:,} bytes instead of {len(before):,}"
    else:
        path.rename(aside)
        output = f"{name} is missing"
        if how == "link":
            path.symlink_to(aside)
            output = f"{name} was replaced by something that is no file"
    try:
        assert verify_bundle(bundle).altered == [output]
    finally:
        path.unlink(missing_ok=True)
        aside.unlink(missing_ok=True)
        path.write_bytes(before)


def test_added_files_are_found_wherever_they_are(bundle: Path) -> None:
    (bundle / "notes.txt").write_text("hello", encoding="utf-8")
    (bundle / "history" / "deeper").mkdir()
    (bundle / "history" / "deeper" / "more").touch()
    (bundle / "link").symlink_to("nowhere")
    assert verify_bundle(bundle).altered == ["history/deeper/more was added", "link was added", "notes.txt was added"]


def test_a_new_manifest_over_altered_files_is_told_by_the_digest(bundle: Path) -> None:
    """Without the digest from the run's log, a bundle that was altered with care agrees with itself."""
    digest = digest_of(bundle)
    (bundle / "summary.md").write_text("All is well.", encoding="utf-8")
    manifest.write_manifest(bundle)
    assert verify_bundle(bundle).genuine
    found = verify_bundle(bundle, digest)
    assert found.altered == [f"manifest.json is another one: its digest is {digest_of(bundle)}, not {digest}"]


@pytest.mark.parametrize("write", [str.upper, lambda digest: digest.removeprefix("sha256:")])
def test_a_digest_may_be_given_as_people_copy_it(bundle: Path, write: Callable[[str], str]) -> None:
    digest = write(digest_of(bundle).removeprefix("sha256:"))
    assert verify_bundle(bundle, digest).genuine


def test_a_manifest_that_says_the_same_in_other_bytes_was_altered(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_bytes(json.dumps(json.loads(path.read_bytes())).encode())
    assert verify_bundle(bundle).altered == ["manifest.json was altered: no run writes it like this"]


def test_a_verdict_that_the_history_does_not_lead_to_differs(bundle: Path) -> None:
    """Whoever has altered the verdict, and made the manifest anew."""
    verdict = read_verdict(bundle)
    checkers = [
        msgspec.structs.replace(one, status=Status.PASS) if one.name == "replay" or one.status is Status.FAIL else one
        for one in verdict.checkers
    ]
    forged = msgspec.structs.replace(
        verdict, status=Status.PASS, exit_code=0, checkers=checkers[1:], thresholds=[], seed=8, attacks=[]
    )
    (bundle / "verdict.json").write_bytes(msgspec.json.encode(forged))
    manifest.write_manifest(bundle)
    found = verify_bundle(bundle)
    assert found.altered == []
    assert found.differs == [
        "seed was 8, judged anew it is 7",
        "status was 'pass', judged anew it is 'fail'",
        "exit_code was 0, judged anew it is 1",
        "checker answers was pass, judged anew it is fail",
        "checker attacks was pass, judged anew it is fail",
        "checker alerts is only judged anew",
        "threshold heartbeat.accepted: rate==1 is only judged anew",
        "threshold attacks.accepted: count==0 is only judged anew",
        "attack replay.exact (1) is only judged anew",
    ] + [line for line in found.differs if line.startswith("reproduce")]


def test_the_same_status_with_other_figures_is_no_match(bundle: Path) -> None:
    verdict = read_verdict(bundle)
    first = msgspec.structs.replace(verdict.checkers[0], summary="Nothing to see.", figures={})
    other = msgspec.structs.replace(verdict, checkers=[first, *verdict.checkers[1:]])
    assert compare(other, verdict) == ["checker alerts is fail both times, but not the same in its summary, figures"]
    turned = msgspec.structs.replace(verdict, checkers=verdict.checkers[::-1])
    assert compare(turned, verdict) == ["the checkers are not in the same order"]
    assert compare(verdict, verdict) == []


def test_altered_evidence_that_cannot_be_judged_any_more_is_still_called_altered(bundle: Path) -> None:
    (bundle / "history" / "scrapes.ndjson.gz").write_bytes(b"no")
    found = verify_bundle(bundle)
    assert len(found.altered) == 1
    assert found.differs == [
        "nothing can be judged anew: history/scrapes.ndjson.gz cannot be read (Not a gzipped file (b'no'))"
    ]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "without it nothing can be verified"),
        (b"{", "is no manifest"),
        (b"[]", "is no manifest"),
        (b'{"format":9,"files":{}}', "is of format 9, this version reads 1"),
        (b'{"format":1,"files":{"a":{"sha256":1,"size":2}}}', "is no manifest"),
    ],
)
def test_without_a_manifest_that_can_be_read_nothing_is_verified(bundle: Path, content: bytes | None, why: str) -> None:
    path = bundle / "manifest.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BundleError, match=why):
        verify_bundle(bundle)


def test_an_unaltered_bundle_of_another_version_cannot_be_verified(bundle: Path) -> None:
    record = json.loads((bundle / "run.json").read_bytes())
    (bundle / "run.json").write_bytes(json.dumps({**record, "format": 99}).encode())
    manifest.write_manifest(bundle)
    with pytest.raises(BundleError, match="is of format 99"):
        verify_bundle(bundle)


def test_a_manifest_cannot_make_anybody_read_outside_the_folder(bundle: Path) -> None:
    """Names are compared with what is in the folder, and never opened."""
    path = bundle / "manifest.json"
    listed = json.loads(path.read_bytes())
    listed["files"]["../../secret"] = {"sha256": "0" * 64, "size": 1}
    listed["files"] = dict(sorted(listed["files"].items()))
    path.write_bytes(msgspec.json.format(json.dumps(listed).encode(), indent=2) + b"\n")
    (bundle.parent.parent / "secret").write_text("x", encoding="utf-8")
    assert verify_bundle(bundle).altered == ["../../secret is missing"]


def test_a_folder_of_too_many_files_is_refused(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / str(number)).touch()
    with pytest.raises(BundleError, match="more than 3 files"):
        manifest.list_files(tmp_path, 3)


def test_a_bundle_may_be_moved(bundle: Path, tmp_path: Path) -> None:
    digest = digest_of(bundle)
    shutil.move(bundle, tmp_path / "elsewhere")
    assert verify_bundle(tmp_path / "elsewhere", digest).genuine
