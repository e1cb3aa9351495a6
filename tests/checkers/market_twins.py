"""A market day on two servers with one state, each of which is asked in turn: what one changes the other does again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.core.changes import encode_changes
from reference_server.core.recovery import begin, name_nonces, replay
from reference_server.operations.api import Api
from reference_server.operations.outcomes import Deferred
from reference_server.wire.values import Reply
from tests.checkers.market_play import DONE, Play, PlayServer
from tests.core.server_under_test import STARTED, as_answer

if TYPE_CHECKING:
    from typing import Any

    from reference_server.wire.values import Request
    from tests.core.server_under_test import Answer


class TwinServer(PlayServer):
    """Two servers: `api` is the one that was asked last, and whatever it has changed the next one does first."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        api = self.api
        entropy = SeededEntropy("the other")
        self._other = Api(self.settings, entropy, api.state.signer, STARTED, api.state.tables, self.routes)
        begin(api.state)
        name_nonces(self._other.state, api.state.nonce_key)
        api.state.changes = []

    def request(self, request: Request) -> Answer:
        """Ask the other one."""
        changes, self.api.state.changes = self.api.state.changes or [], None
        self.api, self._other = self._other, self.api
        if changes:
            replay(self.api.state, (encode_changes(changes),), self.now)
        self.api.state.changes = []
        reply = self.api.handle(request, self.now)
        if isinstance(reply, Deferred):  # it waits for its changes to be durable, which all of them are here
            assert isinstance(reply.decided, Reply)
            reply = self.api.add_common_headers(reply, reply.decided)
        return as_answer(reply)


class TwinPlay(Play):
    """A day on two servers."""

    server_type = TwinServer


def twin_day() -> Play:
    """Jobs and withdrawals that are asked for again, of the other server, with the answer known and lost."""
    play = TwinPlay()
    one, ada = play.agent("one"), play.owner("ada")
    machine = play.machine(ada, {"cpu_cores": 2, "memory_gb": 8})
    for number in range(2):
        play.withdraw(one, "0.1", f"w{number}")
        play.withdraw(one, "0.1", f"w{number}")
    play.withdraw(one, "0.2", "lost", lose=DONE)
    play.withdraw(one, "0.2", "lost")
    play.post(one, "0.5", key="job")
    play.post(one, "0.5", key="job")
    play.beat_all(3)
    play.read(one)
    play.settle()
    play.beat(machine, **dict.fromkeys(play.running[machine], "succeeded"))
    play.finish()
    return play
