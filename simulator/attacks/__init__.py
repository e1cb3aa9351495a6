"""The attack catalogue, one module a family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.attacks import audit, metrics, strain, strain_requests
from simulator.attacks.access import DuplicateHeader, NoAuth, Verbs
from simulator.attacks.agents import forum, job_bodies, job_hoard, jobs, keys, names, wallet, wallet_limits
from simulator.attacks.catalogue import ShotAttack
from simulator.attacks.certificate import ExpiredCertificate, ForeignCertificate, ForgedCertificate, RotatedOut
from simulator.attacks.consent import AfterRevoke, ForeignConsent, Newest, NoConsent
from simulator.attacks.credential import Guess, UnknownWorker, WrongToken
from simulator.attacks.http_connection import HalfClose, Pipeline, Reset
from simulator.attacks.http_framing import (
    BadLength,
    BareLineFeed,
    FoldedHeader,
    LengthAndCoding,
    NulByte,
    SpaceBeforeColon,
    TwoLengths,
)
from simulator.attacks.http_sizes import HugeBody, LargeHeaders
from simulator.attacks.http_slow import SlowBody, Slowloris, SlowRead
from simulator.attacks.json_bodies import StrictJson
from simulator.attacks.limits import Burst, RotatedAddress, SpoofedAddress, WindowEdge
from simulator.attacks.logins import moltbook, returns, sessions, states, tokens
from simulator.attacks.nonce import Burn, Delimiter, Flood, Oversized
from simulator.attacks.origins import ForeignOrigin
from simulator.attacks.ownership import HeaderMismatch, Idor, UnknownId
from simulator.attacks.paging import PageExtremes
from simulator.attacks.policy import Canonical, Rules
from simulator.attacks.policy_fetch import Bogus
from simulator.attacks.replay import Concurrent, CrossWorker, OwnConnection, ReplayExact, TamperedMetrics, TtlEdge
from simulator.attacks.replay_faults import (
    AfterRedisFlush,
    AfterRedisHeals,
    AfterRestart,
    ClockStepBack,
    OtherInstance,
    RedisDown,
    RedisFallback,
)
from simulator.attacks.revocation import Race, Twice
from simulator.attacks.rotate import NoToken, WrongOwner, WrongRotationToken
from simulator.attacks.signature import ForgedSignature, ReusedKind, SignatureEncoding
from simulator.attacks.skew import SkewAhead, SkewBehind, SkewEdge, SkewForms
from simulator.attacks.strain_http2 import RapidReset
from simulator.attacks.transport import SpoofedProto
from simulator.attacks.weakness import UnsignedMetrics

if TYPE_CHECKING:
    from simulator.attacks.catalogue import Attack

_ATTACKS: tuple[type[Attack], ...] = (
    # what machines send
    *(ReplayExact, TamperedMetrics, Concurrent, OwnConnection, CrossWorker, TtlEdge),
    *(AfterRestart, OtherInstance, AfterRedisFlush, RedisDown, RedisFallback, AfterRedisHeals, ClockStepBack),
    *(Burn, Oversized, Delimiter, Flood),
    *(SkewBehind, SkewAhead, SkewEdge, SkewForms),
    *(ForgedSignature, SignatureEncoding, ReusedKind),
    *(WrongToken, Guess, UnknownWorker),
    *(RotatedOut, ExpiredCertificate, ForeignCertificate, ForgedCertificate),
    *(Bogus, Race, Twice, NoConsent, AfterRevoke, ForeignConsent, Newest, UnsignedMetrics),
    # what owners ask for
    *(NoToken, WrongOwner, WrongRotationToken),
    *(HeaderMismatch, Idor, UnknownId, NoAuth, DuplicateHeader, Verbs, ForeignOrigin),
    *(StrictJson, PageExtremes, Canonical, Rules),
    *(audit.Evict, audit.Inject, metrics.Inject, metrics.Read),
    # who people and agents are
    *(states.State, states.CodeReplay, states.NoPkce, states.MixUp, returns.ReturnTo),
    *(tokens.AlgNone, tokens.KeyConfusion, tokens.WrongAud, tokens.WrongIss, tokens.Expired, tokens.Nonce),
    *(tokens.UnverifiedEmail, moltbook.InvalidIdentity, moltbook.Down, sessions.SessionAsOther),
    *(moltbook.Closed, sessions.SessionExpired),
    # what agents and owners have accounts for
    *(keys.Revoked, keys.Guess, keys.AsOwner, names.Names),
    *(wallet.DoubleSpend, wallet.Idempotency, wallet.Amounts, wallet.Address),
    *(wallet_limits.Velocity, wallet_limits.Cooldown, jobs.Inflate, jobs.Foreign, job_bodies.Bodies),
    job_hoard.Hoard,
    *(forum.ForumScript,),
    # below and around HTTP
    *(LengthAndCoding, TwoLengths, BadLength, BareLineFeed, FoldedHeader, SpaceBeforeColon, NulByte),
    *(LargeHeaders, HugeBody, Slowloris, SlowBody, SlowRead, Pipeline, HalfClose, Reset),
    *(Burst, WindowEdge, SpoofedAddress, RotatedAddress, SpoofedProto),
    # what costs a server more than its sender
    *(strain.Slashes, strain.Bodies, strain.Connects, strain.Headers, strain.SlowRead),
    *(strain_requests.Flood, strain_requests.Backtracking, strain_requests.AuditTurn, RapidReset),
)
CATALOGUE: dict[str, type[Attack]] = {attack.name: attack for attack in _ATTACKS}
"""Every attack by its stable name."""


def shot_attack(name: str) -> ShotAttack:
    """Make an attack of single heartbeats. Raises TypeError for a script."""
    attack = CATALOGUE[name]()
    if not isinstance(attack, ShotAttack):
        raise TypeError(f"{name} is a script")
    return attack
