"""Asking outside what decisions need to know: who a login is of, which agent an identity is of.

No decision waits, and nobody else's answer does: each question is a task of its own, for so long at most, and there are
so many at most. What is not answered in time is answered by "unavailable", and what comes of that the decision says.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import trio

from reference_server.identity_ports import UNAVAILABLE, Identify
from reference_server.limits import INQUIRIES_MAX, INQUIRY_SECONDS
from reference_server.operations.outcomes import Resumed
from reference_server.pipeline.answering import internal_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.core.inquiry import Inquiry
    from reference_server.identity_ports import Answered, Question
    from reference_server.operations.api import Api


MOLTBOOK = "moltbook"


class Inquirer:
    """Asks an API's providers. `run` has to run while the API is served; before and after, all are unavailable."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._nursery: trio.Nursery | None = None
        self._asking: Counter[str] = Counter()

    @property
    def asking(self) -> int:
        """Return how many questions are not answered yet."""
        return self._asking.total()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Ask until stopped or cancelled; what is not answered by then is answered by "unavailable"."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def stop(self) -> None:
        """Wait for no answer any more."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def ask(self, inquiry: Inquiry, answered: Callable[[Resumed], None]) -> None:
        """Call `answered` with what is to be decided then, once the question is answered."""
        whom = inquiry.question.provider if isinstance(inquiry.question, Identify) else MOLTBOOK
        if self._nursery is None or self._asking[whom] >= INQUIRIES_MAX:
            answered(Resumed(inquiry, UNAVAILABLE))
            return
        self._asking[whom] += 1
        self._nursery.start_soon(self._ask, whom, inquiry, answered)

    async def _ask(self, whom: str, inquiry: Inquiry, answered: Callable[[Resumed], None]) -> None:
        answer: Answered = UNAVAILABLE
        try:
            with trio.move_on_after(INQUIRY_SECONDS):
                answer = await self._answer(inquiry.question)
        except Exception:  # noqa: BLE001 - a fault of ours is nobody who could be asked
            internal_error("a question asked outside")
        finally:
            self._asking[whom] -= 1
            answered(Resumed(inquiry, answer))

    async def _answer(self, question: Question) -> Answered:
        if isinstance(question, Identify):
            provider = self._api.providers.get(question.provider)
            return UNAVAILABLE if provider is None else await provider.identify(question)
        moltbook = self._api.moltbook
        return UNAVAILABLE if moltbook is None else await moltbook.verify(question.token)
