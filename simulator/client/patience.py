"""How long those who play wait for a target, as one value that goes with it; each wait itself is in `limits.py`."""

from __future__ import annotations

import msgspec

from simulator.limits import ANSWER_TIMEOUT_SECONDS, LAST_ANSWERS_SECONDS, POLICY_PATIENCE_SECONDS, SILENCE_SECONDS


class Patience(msgspec.Struct, frozen=True):
    """How long a live run waits for its target.

    `answer_seconds` is for a whole answer, `policy_seconds` for one owner's policy with all tries, and
    `last_answers_seconds` for what is under way at a run's end. When nothing was answered for `silence_seconds`, it is
    asked what still is.
    """

    answer_seconds: float = ANSWER_TIMEOUT_SECONDS
    policy_seconds: float = POLICY_PATIENCE_SECONDS
    last_answers_seconds: float = LAST_ANSWERS_SECONDS
    silence_seconds: float = SILENCE_SECONDS


PATIENCE = Patience()
