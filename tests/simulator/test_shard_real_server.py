"""The shard and the real server in one loop, over real sockets: both sides must have counted the same to the last."""

from __future__ import annotations

import ssl
from collections import Counter
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.attacks import shot_attack
from simulator.client.target import machine_source
from simulator.contract.answers import REASONS, Answer, Operation
from simulator.fleet.machine import Machine
from simulator.history.rows import HONEST
from simulator.scenario.kinds import Duration
from simulator.scenario.values import AttackOptions
from simulator.worlds.plan import Campaign
from simulator.worlds.players.onboarding import Onboarding
from tests.simulator.conftest import ShardUnderTest, WatchedApi, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.client.target import Target


async def enrolled(shard: ShardUnderTest, machines: int, interval_ns: int) -> list[Machine]:
    """Bring machines through onboarding, as a run does."""
    rng = np.random.default_rng(1)
    onboarding = Onboarding(shard.target, shard.history, shard.progress, shard.now, rng, 600 * SECOND_NS)
    await onboarding.create_policies(["ada", "bob"])
    fleet = [Machine(index, ("ada", "bob")[index % 2], interval_ns) for index in range(machines)]
    for machine in fleet:
        await onboarding.serve(machine)
        machine.due_ns = shard.now()
    assert len(shard.history) == 3 * machines
    return fleet


def see_that_both_counted_the_same(shard: ShardUnderTest, api: WatchedApi, fleet: list[Machine]) -> None:
    rows = shard.history.rows()
    heartbeats = rows[rows["operation"] == Operation.HEARTBEAT]
    accepted = heartbeats[heartbeats["got"] == Answer.ACCEPTED]
    assert api.heartbeats_accepted == len(accepted) == len(api.state.nonces)
    state = api.state
    for machine in fleet:
        own = accepted[accepted["machine"] == machine.index]
        assert len(own) == len([
            one for one in api.heard if machine.worker_id in one.path and "heartbeat" in one.path and one.status == 200
        ])  # fmt: skip
        assert state.workers[machine.worker_id].policy_id == machine.policy_id
    refused = Counter(REASONS[Answer(int(got))] for got in heartbeats["got"] if int(got) in REASONS)
    assert refused == Counter({reason: count for reason, count in state.failures.by_reason.items() if count})
    assert (heartbeats["planned_ns"] <= heartbeats["sent_ns"]).all()
    assert (heartbeats["sent_ns"] <= heartbeats["answered_ns"]).all()
    heard = sum("heartbeat" in one.path for one in api.heard)
    assert len(heartbeats) == heard == shard.progress.sent


async def test_machines_and_attackers_count_what_the_server_counts() -> None:
    """Honest machines are accepted each time, every attack is refused for its reason, and no request is missing."""
    async with serving(rate_limit_burst=1000) as (api, target):
        shard = ShardUnderTest(target)
        fleet = await enrolled(shard, 24, 40 * MILLISECOND_NS)
        async with shard.running(patience_seconds=5):
            for machine in fleet:
                shard.shard.resume(machine)
            await until(lambda: all(machine.last_accepted for machine in fleet))
            for number, name in enumerate(("replay.exact", "credential.wrong-token", "signature.forged"), 1):
                options = AttackOptions(
                    name=name, start_ns=Duration(shard.now()), duration_ns=Duration(SECOND_NS // 2), rate=40, share=1.0
                )
                shard.shard.launch(Campaign(number, options, shot_attack(name), fleet, 10))
            shot = shard.progress  # on a busy machine some find no attacker free
            await until(lambda: shot.attacks_refused + shot.held_up >= 55 and shot.accepted >= 300)
        see_that_both_counted_the_same(shard, api, fleet)
        rows = shard.history.rows()
        honest = rows[rows["campaign"] == HONEST]
        assert set(honest["got"].tolist()) == {Answer.ACCEPTED}
        assert (shard.progress.attacks_accepted, shard.progress.lost) == (0, 0)
        assert set(rows["campaign"].tolist()) == {0, 1, 2, 3}
        assert api.clients_of_workers == {
            machine.worker_id: {machine_source(target, machine.index)} for machine in fleet
        }


async def test_machines_that_beat_too_fast_are_limited_and_counted_so() -> None:
    """The server's own Retry-After is honoured: a limited machine is accepted the next time."""
    async with serving(rate_limit_burst=5, rate_limit_refill_per_second=2.0) as (api, target):
        shard = ShardUnderTest(target)
        fleet = await enrolled(shard, 4, 10 * MILLISECOND_NS)
        async with shard.running(patience_seconds=5):
            for machine in fleet:
                shard.shard.resume(machine)
            await until(lambda: shard.progress.refused >= 4 and shard.progress.accepted >= 12)
        rows = shard.history.rows()
        limited = int((rows["got"] == Answer.RATE_LIMITED).sum())
        assert limited == api.state.rate_limited >= 4
        for machine in fleet:
            own = [row for row in rows if row["machine"] == machine.index and row["operation"] == Operation.HEARTBEAT]
            after = [later for earlier, later in pairwise(own) if earlier["status"] == 429]
            assert all(row["status"] == 200 for row in after)
        see_that_both_counted_the_same(shard, api, fleet)


async def test_a_rotation_by_the_owner_costs_one_refusal_of_which_both_know() -> None:
    async with serving(rate_limit_burst=1000) as (api, target):
        shard = ShardUnderTest(target)
        (machine,) = await enrolled(shard, 1, 20 * MILLISECOND_NS)
        async with shard.running(patience_seconds=5):
            shard.shard.resume(machine)
            await until(lambda: shard.progress.accepted >= 3)
            worker = api.state.workers[machine.worker_id]
            dead = worker.certificate
            worker.certificate = msgspec.structs.replace(dead, certificate_id="mcert_ffffffffffffffffffff")
            shard.shift_ns += 60 * SECOND_NS
            await until(lambda: shard.progress.refused == 1)
            shard.shift_ns += 2 * SECOND_NS
            await until(lambda: shard.calls == [machine])
        assert machine.rotate_due
        assert api.state.failures.by_reason["invalid_or_expired_machine_cert"] == 1
        assert shard.row(len(shard.history) - 1)["got"] == Answer.UNEXPECTED


# --- over TLS


@pytest.fixture
def pem(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    made = datetime(2020, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(made)
        .not_valid_after(made + timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, private = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.touch(0o600)
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    return chain, private


def trusting(target: Target, chain: Path) -> Target:
    return msgspec.structs.replace(target, tls=ssl.create_default_context(cafile=str(chain)))


async def test_a_fleet_works_over_tls(pem: tuple[Path, Path]) -> None:
    chain, key = pem
    async with serving(tls_cert_file=str(chain), tls_key_file=str(key), rate_limit_burst=1000) as (api, target):
        assert target.url.startswith("https://127.0.0.1:")
        shard = ShardUnderTest(trusting(target, chain))
        fleet = await enrolled(shard, 5, 40 * MILLISECOND_NS)
        async with shard.running(patience_seconds=5):
            for machine in fleet:
                shard.shard.resume(machine)
            await until(lambda: shard.progress.accepted >= 25)
            assert shard.progress.connected == 5
        see_that_both_counted_the_same(shard, api, fleet)
        assert shard.progress.refused == shard.progress.lost == shard.progress.connect_failures == 0


async def test_a_server_that_is_not_trusted_gets_nothing(pem: tuple[Path, Path]) -> None:
    chain, key = pem
    async with serving(tls_cert_file=str(chain), tls_key_file=str(key)) as (api, target):
        shard = ShardUnderTest(target)
        async with shard.running():
            shard.shard.resume(shard.machine())
            await until(lambda: shard.progress.connect_failures >= 1)
        assert not api.heard
        assert len(shard.history) == 0
