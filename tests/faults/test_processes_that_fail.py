"""The server and the Redis that a run starts for itself, made to fail and mended again."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from simulator.client.connection import ControlConnection, LostError
from simulator.client.target import parse_target
from simulator.deployment import redis_process
from simulator.deployment.redis_process import RedisError, RedisProcess, own_redis
from simulator.deployment.server_process import ServerError, ServerProcess, own_server
from tests.simulator.conftest import API_TOKEN
from tests.support.waiting import PATIENCE_SECONDS

HURRY_SECONDS = 0.3
"""How long a process that stands still is given to answer; it would take as long whatever it is given."""
PARENT = """
import sys, trio
from simulator.deployment.redis_process import own_redis
from simulator.deployment.server_process import own_server

async def main():
    async with own_server({}, "token-of-the-run") as server, own_redis() as redis:
        await server.pause()
        print(server.pid, redis.pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def health(server: ServerProcess) -> int:
    """Ask for the server's health on a new connection; gives the status. Raises LostError."""
    async with ControlConnection(parse_target(server.url, API_TOKEN), None) as connection:
        return (await connection.request("GET", "/health", {}, rooted=True)).status


async def test_a_killed_server_starts_again_on_its_port() -> None:
    async with own_server({}, API_TOKEN) as server:
        url, pid = server.url, server.pid
        await server.kill()
        assert server.exit_code is None, "it is down because it was told to be, and a run must not end for that"
        with pytest.raises(LostError):
            await health(server)
        await server.start()
        assert (server.url, await health(server)) == (url, 200)
        assert server.pid != pid
        assert server.exit_code is None
    assert server.exit_code == 0


async def test_a_server_stopped_in_order_says_goodbye_and_starts_again() -> None:
    async with own_server({}, API_TOKEN) as server:
        with os.fdopen(os.pidfd_open(server.pid)) as ended:
            await server.stop()
            assert select.select([ended], [], [], 0)[0]
        await server.start()
        assert await health(server) == 200


async def test_a_paused_server_answers_once_it_goes_on() -> None:
    async with own_server({}, API_TOKEN) as server:
        await server.pause()
        with trio.move_on_after(HURRY_SECONDS) as waited:
            await health(server)
        assert waited.cancelled_caught
        await server.resume()
        assert await health(server) == 200


async def test_a_server_that_is_paused_when_the_run_ends_ends_in_order() -> None:
    async with own_server({}, API_TOKEN) as server:
        await server.pause()
    assert server.exit_code == 0


async def test_a_server_that_cannot_start_again_says_why_and_its_death_is_seen() -> None:
    async with own_server({}, API_TOKEN) as server:
        await server.kill()
        port = int(server.url.rpartition(":")[2])
        with socket.create_server(("127.0.0.1", port)), pytest.raises(ServerError, match="cannot listen on"):
            await server.start()
        assert server.exit_code not in {None, 0}


async def test_a_full_disk_lets_the_server_write_nothing_until_it_is_mended() -> None:
    """What the kernel then does to a write is its own matter; what a server makes of it, that of live runs."""
    async with own_server({}, API_TOKEN) as server:
        limits = Path(f"/proc/{server.pid}/limits")
        before = file_size_limit(limits)
        server.fill_disk(full=True)
        assert file_size_limit(limits) == "0"
        assert await health(server) == 200
        server.fill_disk(full=False)
        assert file_size_limit(limits) == before != "0"


def file_size_limit(limits: Path) -> str:
    """Return the soft limit on the size of files that the kernel shows of a process."""
    lines = limits.read_text("ascii").splitlines()
    return next(line.split()[3] for line in lines if line.startswith("Max file size"))


async def test_nothing_outlives_a_parent_that_is_killed_not_even_what_stands_still() -> None:
    parent = await trio.lowlevel.open_process([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    async with parent.stdout:
        output = b""
        with trio.fail_after(PATIENCE_SECONDS):
            while not output.endswith(b"\n"):
                part = await parent.stdout.receive_some(1)
                assert part, "it ended before it had both"
                output += part
        with contextlib.ExitStack() as stack:
            descriptors = [os.pidfd_open(int(pid)) for pid in output.split()]
            for descriptor in descriptors:
                stack.callback(os.close, descriptor)
            parent.kill()
            with trio.fail_after(PATIENCE_SECONDS):
                await parent.wait()
                for descriptor in descriptors:
                    await trio.lowlevel.wait_readable(descriptor)


async def command(redis: RedisProcess, *words: str) -> bytes:
    """Return Redis a command on a new connection; gives what it says."""
    async with await trio.open_tcp_stream("127.0.0.1", redis.port) as stream:
        await stream.send_all(
            b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words)
        )
        return await stream.receive_some(4096)


async def test_a_killed_redis_comes_back_with_all_that_it_had_acknowledged() -> None:
    async with own_redis() as redis:
        assert await command(redis, "SET", "nonce", "1") == b"+OK\r\n"
        address = redis.address
        await redis.kill()
        with pytest.raises(OSError, match=r"refused|onnect"):
            await command(redis, "GET", "nonce")
        await redis.start()
        assert redis.address == address
        assert await command(redis, "GET", "nonce") == b"$1\r\n1\r\n"


async def test_a_redis_that_crashed_comes_back_without_its_last_second() -> None:
    async with own_redis(syncs_always=False) as redis:
        await command(redis, "SET", "old", "1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(redis.crash)
            await trio.testing.wait_all_tasks_blocked()
            await command(redis, "SET", "new", "1")
        await redis.start()
        assert await command(redis, "GET", "old") == b"$1\r\n1\r\n"
        assert await command(redis, "GET", "new") == b"$-1\r\n"


async def test_a_flushed_redis_has_forgotten_and_a_paused_one_does_not_answer() -> None:
    async with own_redis() as redis:
        await command(redis, "SET", "nonce", "1")
        await redis.flush()
        assert await command(redis, "GET", "nonce") == b"$-1\r\n"
        redis.pause()
        with trio.move_on_after(HURRY_SECONDS) as waited:
            await command(redis, "PING")
        assert waited.cancelled_caught
        redis.resume()
        assert await command(redis, "PING") == b"+PONG\r\n"


async def test_a_redis_that_is_away_cannot_be_flushed() -> None:
    async with own_redis() as redis:
        await redis.kill()
        with pytest.raises(RedisError, match="could not be flushed"):
            await redis.flush()


async def test_without_redis_on_the_path_the_message_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_process, "PROGRAM", "no-such-redis-server")
    with pytest.raises(RedisError, match=r"no no-such-redis-server on the PATH: install it .*redis-server"):
        async with own_redis():
            pytest.fail("it must not start")


async def test_a_redis_that_does_not_start_is_told_in_its_own_words(tmp_path: Path) -> None:
    """Its folder is one that it cannot write to."""
    redis = RedisProcess("redis-server", tmp_path / "nowhere")
    with pytest.raises(RedisError, match="did not start"):
        await redis.start()
