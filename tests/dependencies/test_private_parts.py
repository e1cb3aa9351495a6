"""Parts of other projects that are not promised to us, and are relied on: one test each, which fails first and says so.

Their upper bounds in pyproject.toml keep versions away that nobody has looked at. Whoever moves a bound reads the
module that a failure here names.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from coredis.connection import TCPConnection, TCPLocation
from h2.connection import H2Connection
from hpack import Encoder
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from packaging.requirements import Requirement
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest
from quart_trio import QuartTrio

from reference_server.http.http2_protocol import BoundedH2, FieldDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
BOUNDED = ("coredis", "h2", "hpack", "hypercorn", "locust", "prometheus-client", "quart", "quart-trio")


class Reliance:
    """What a module of ours relies on of a project."""

    def __init__(self, project: str, reader: str) -> None:
        self._project = project
        self._reader = reader

    def on(self, what: str, holds: object) -> None:
        """Fail, naming the part and who reads it, unless it holds."""
        if not holds:
            pytest.fail(
                f"{self._project} {version(self._project)} has changed {what}: "
                f"read {self._reader} anew before its bound in pyproject.toml is moved"
            )

    def on_source(self, of: Any, *lines: str) -> None:
        """Fail unless its source still has each of some lines."""
        source = of if isinstance(of, str) else inspect.getsource(of)
        for line in lines:
            self.on(f"`{line}`", line in source)

    def on_arguments(self, of: Callable[..., Any], *names: str) -> None:
        """Fail unless these are the first arguments that it takes."""
        self.on(f"the arguments of {of.__qualname__}", list(inspect.signature(of).parameters)[: len(names)] == [*names])


@pytest.mark.parametrize("project", BOUNDED)
def test_each_has_an_upper_bound_that_the_installed_version_keeps(project: str) -> None:
    declared = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    bounds = [one for one in map(Requirement, declared) if one.name == project]
    assert len(bounds) == 1
    assert any(bound.operator == "<" for bound in bounds[0].specifier)
    assert version(project) in bounds[0].specifier


def test_hypercorn_still_has_the_parts_that_the_front_relies_on() -> None:
    relies = Reliance("hypercorn", "reference_server/http/hypercorn_front.py")
    relies.on_arguments(TCPServer.__init__, "self", "app", "config", "context", "state", "stream")
    relies.on_arguments(ASGIWrapper.__init__, "self", "app")
    relies.on("TCPServer._idle_timeout", inspect.iscoroutinefunction(TCPServer._idle_timeout))
    relies.on("TCPServer._read_data", inspect.iscoroutinefunction(TCPServer._read_data))
    relies.on("WorkerContext.terminated", inspect.iscoroutinefunction(WorkerContext(None).terminated.set))
    relies.on_source(
        TCPServer,
        "await self.idle_task.restart(self._task_group, self._idle_timeout)",
        "await self._read_data()",
        "self.protocol = ProtocolWrapper(",
        "data = await self.stream.receive_some(MAX_RECV)",
        "await self.stream.send_all(event.data)",
        "alpn_protocol = self.stream.selected_alpn_protocol()",
        "await self.stream.send_eof()",
        "except AttributeError:  # Not SSL",
    )


def test_quart_still_hands_each_request_to_what_the_application_overrides() -> None:
    relies = Reliance("quart", "reference_server/http/quart_app.py")
    relies.on_source(
        inspect.getmodule(QuartTrio.__mro__[1]),
        "await self.dispatch_request(request_context)",
        "return await self.handle_exception(error)",
        "def create_url_adapter(",
    )


async def test_coredis_still_has_the_buffers_that_a_connection_closes() -> None:
    relies = Reliance("coredis", "reference_server/adapters/redis/link.py")
    connection = TCPConnection(TCPLocation("127.0.0.1", 1), password=None)
    for name in ("write", "push_message", "streamed_message"):
        for end in (f"_{name}_buffer_in", f"_{name}_buffer_out"):
            relies.on(f"TCPConnection.{end}", callable(getattr(getattr(connection, end, None), "close", None)))
            getattr(connection, end).close()
    relies.on("TCPConnection.client_id", connection.client_id is None)
    relies.on("TCPConnection.run", "task_status" in inspect.signature(connection.run).parameters)
    relies.on_arguments(TCPConnection.create_request, "self", "command", "args")
    relies.on_arguments(TCPConnection.invalidate, "self")
    requests = inspect.getmodule(inspect.getmodule(TCPConnection.create_request).Request)  # type: ignore[union-attr]
    relies.on_source(requests, "complete")


class LocustSource:
    """The source of a module of Locust's, which is not imported: that would patch the sockets of this process."""

    def __init__(self, name: str) -> None:
        found = importlib.util.find_spec("locust")
        assert found is not None
        assert found.origin is not None
        self.text = Path(found.origin).with_name(name).read_text(encoding="utf-8")
        self._tree = ast.parse(self.text)

    def method(self, owner: str, name: str) -> str:
        """Return a method's source; empty where there is none."""
        for node in ast.walk(self._tree):
            if isinstance(node, ast.ClassDef) and node.name == owner:
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef) and inner.name == name:
                        return ast.get_source_segment(self.text, inner) or ""
        return ""


def test_locust_still_has_the_parts_that_its_nodes_rely_on() -> None:
    relies = Reliance("locust", "simulator/load/dispatching.py, worker_node.py, master_node.py and statistics.py")
    dispatch, runners, stats = (LocustSource(name) for name in ("dispatch.py", "runners.py", "stats.py"))
    dispatcher = "UsersDispatcher"
    relies.on_source(
        dispatch.method(dispatcher, "__init__"),
        "self._worker_nodes = worker_nodes",
        "self._original_user_classes = sorted(",
        "self._users_on_workers = self._fast_users_on_workers_copy(",
        "self._dispatch_in_progress = False",
    )
    relies.on_source(
        dispatch.method(dispatcher, "new_dispatch"),
        "self._users_on_workers = self._fast_users_on_workers_copy(self._initial_users_on_workers)",
        "self._dispatcher_generator = self._dispatcher()",
    )
    relies.on_source(dispatch.method(dispatcher, "add_worker"), "self._prepare_rebalance()")
    relies.on_source(dispatch.method(dispatcher, "remove_worker"), "self._prepare_rebalance()")
    relies.on_source(dispatch.method(dispatcher, "get_current_user_count"), "self._users_on_workers")
    relies.on_source(runners.method("WorkerRunner", "_send_stats"), 'Message("stats", data, self.client_id)')
    relies.on_source(runners.text, "self.environment.dispatcher_class(", '"missing"', "def all(self)")
    entry = ("reset", "total_response_time", "num_none_requests", "num_reqs_per_sec", "num_fail_per_sec")
    relies.on_source(stats.method("StatsEntry", "__init__") + stats.method("StatsEntry", "reset"), *entry)
    relies.on_source(stats.method("StatsEntry", "extend"), "self.response_times", "self.last_request_timestamp")
    relies.on_source(stats.method("StatsError", "create_key"), "method", "name", "error")


def test_hpack_still_decodes_each_field_by_the_methods_that_are_wrapped() -> None:
    relies = Reliance("hpack", "reference_server/http/http2_protocol.py")
    fields = [(b"x-a", b"1"), (b":method", b"GET"), (b"x-b", b"2" * 300)]
    for huffman in (False, True):
        decoder = FieldDecoder()
        encoded = Encoder().encode(fields, huffman=huffman)
        relies.on("what Decoder.decode returns", decoder.decode(encoded) == ())
        relies.on("the methods that Decoder.decode takes fields by", decoder.take() == fields)


def test_h2_still_reads_requests_by_its_decoder_and_forgets_streams_by_its_bound() -> None:
    relies = Reliance("h2", "reference_server/http/http2_protocol.py")
    fields = [(b":method", b"GET"), (b":path", b"/"), (b":scheme", b"http"), (b":authority", b"h")]
    connection = BoundedH2()
    block = Encoder().encode(fields)
    frames = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
    frames += len(block).to_bytes(3, "big") + b"\1\5" + (1).to_bytes(4, "big") + block
    connection.receive_data(frames)
    relies.on("H2Connection.decoder", connection.decoder.take() == fields)
    relies.on("H2Connection.encoder", isinstance(connection.encoder.header_table_size, int))
    relies.on_source(H2Connection.__init__, "self.decoder", "self.encoder", "size_limit=self.MAX_CLOSED_STREAMS")


def test_prometheus_client_still_writes_whatever_collects() -> None:
    relies = Reliance("prometheus-client", "simulator/report/openmetrics.py")

    class Collecting:
        def collect(self) -> Iterator[Metric]:
            metric = Metric("a", "", "unknown")
            metric.add_sample("a", {}, 1.0)
            yield metric

    written = generate_latest(Collecting())  # type: ignore[no-untyped-call]
    relies.on("what generate_latest needs", bytes(written).endswith(b"a 1.0\n# EOF\n"))


def test_a_part_that_has_changed_is_named_with_its_reader() -> None:
    relies = Reliance("hpack", "our_module.py")
    with pytest.raises(pytest.fail.Exception, match=r"hpack [0-9.]+ has changed `gone`: read our_module\.py anew"):
        relies.on_source("what is there", "gone")
