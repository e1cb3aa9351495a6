"""A metrics page that is read by its lines says what the library reads in it, or is left to that."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.wire.exposition import Figure, Figures, expose
from simulator.client import checking
from simulator.client.plain_metrics import plain_samples
from tests.support.tiers import examples

NAMES = ("hatchfarm_x", "hatchfarm_x_total", "hatchfarm_y_total", "hatchfarm_y", "process_z")
lines = st.one_of(
    st.builds("# HELP {} {}".format, st.sampled_from(NAMES), st.sampled_from(("Some.", 'A "word".', "a\\\\nb", ""))),
    st.builds("# TYPE {} {}".format, st.sampled_from(NAMES), st.sampled_from(("counter", "gauge", "untyped", "odd"))),
    st.builds(
        "{}{} {}".format,
        st.sampled_from(NAMES),
        st.sampled_from(("", '{reason="a_b"}', '{reason="a",more="b"}', '{reason="a\\\\"b"}', "{}", '{__name__="q"}')),
        st.sampled_from(("0", "3.0", "1.5e+06", "1e-05", "+1", "-2", "NaN", "1_0", "9" * 400, "1 1700000000000", "x")),
    ),
    st.sampled_from(("", "#", "# a remark", "hatchfarm_x", "hatchfarm_x ", " hatchfarm_x 1", "hatchfarm_x 1\r")),
)


def read(text: str) -> dict[str, float] | str:
    try:
        return {**checking.parse_metrics(text)}
    except ValueError as error:
        return type(error).__name__


@given(st.lists(lines, max_size=6).map("\n".join))
@settings(max_examples=examples(400), deadline=None)
def test_reading_by_lines_changes_nothing(text: str) -> None:
    by_lines = read(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checking, "plain_samples", lambda _text: None)
        assert str(read(text)) == str(by_lines)  # as texts, for a NaN is not itself


def test_the_servers_own_page_is_read_by_lines() -> None:
    figures = Figures(
        1.5, 3, 1, 1, 2, 1, {"nonce_replayed": 2}, 0, alert_stale_workers=True, alert_auth_failures=False, nonces=4,
        rate_limit_buckets=5, rate_limited=6, heartbeat_answers={200: 7, 401: 2},
        more=(Figure("hatchfarm_jobs", "Jobs.", 2.0), Figure.labelled("hatchfarm_x", "X.", "to", {"queued": 1.0})),
    )  # fmt: skip
    samples = plain_samples(expose(figures).decode())
    assert samples is not None
    assert dict(samples)['hatchfarm_heartbeats_total{status="401"}'] == 2
