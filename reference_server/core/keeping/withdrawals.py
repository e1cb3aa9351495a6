"""Withdrawals, the addresses they go to, and first answers to idempotency keys in files (contract: Wallet)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.keeping import moments
from reference_server.core.market.addresses import normal_address
from reference_server.core.market.idempotency import KeptAnswer, valid_key
from reference_server.core.market.money import ASSETS
from reference_server.core.market.withdrawals import PENDING, RETURNED, SETTLED, AddressUse, Withdrawal
from reference_server.core.table import Table
from reference_server.limits import (
    ADDRESSES_MAX,
    AMOUNT_UNITS_MAX,
    IDEMPOTENCY_KEYS_MAX,
    WITHDRAWALS_FINISHED_MAX,
    WITHDRAWALS_PENDING_MAX,
)
from reference_server.wire.exposition import Figure
from reference_server.wire.ids import WITHDRAWAL_ID
from reference_server.wire.sections import Section

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reference_server.core.state import State
    from reference_server.wire.sections import Reading
    from reference_server.wire.state_file import StateFile
    from reference_server.wire.values import Instant

_DIGEST = re.compile("[0-9a-f]{64}")


class WithdrawalRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A withdrawal; `amount` in units of its asset."""

    id: str
    account: str
    asset: str
    amount: int
    address: str
    created_at: str
    updated_at: str
    state: str


class AddressRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When an account first used an address."""

    account: str
    asset: str
    address: str
    first_used_at: str


class AnswerRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first answer to an idempotency key; `digest` is of the request's body."""

    account: str
    route: str
    key: str
    digest: str
    status: int
    body: str
    created_at: str


def _keep(state: State) -> Iterator[tuple[str, WithdrawalRecord]]:
    for one in state.market.withdrawals.all.values():
        created_at, updated_at = moments.write(one.created), moments.write(one.updated)
        yield (
            one.id,
            WithdrawalRecord(
                one.id, one.account, one.asset, one.amount, one.address, created_at, updated_at, one.state
            ),
        )


def _restore(state: State, file: StateFile, now: Instant) -> None:
    for one in SECTION.of(file.sections).values():
        created, updated = moments.read(now, one.created_at), moments.read(now, one.updated_at)
        state.market.withdrawals.add(
            Withdrawal(one.id, one.account, one.asset, one.amount, one.address, created, updated, one.state)
        )
    state.market.withdrawals.order_finished()


def _check(reading: Reading, place: str, _key: str, one: WithdrawalRecord) -> None:
    reading.require(place, "its state is none", right=one.state in {PENDING, SETTLED, RETURNED})
    reading.require(place, "its asset is none", right=one.asset in ASSETS)
    reading.require(place, "its amount is none", right=0 < one.amount <= AMOUNT_UNITS_MAX)
    reading.times(place, created_at=one.created_at, updated_at=one.updated_at)


def _figures(state: State) -> Sequence[Figure]:
    counts = state.market.withdrawals.count_by_state
    return (Figure.labelled("hatchfarm_withdrawals", "Withdrawals that came to a state.", "state", counts),)


def _keep_addresses(state: State) -> Iterator[tuple[str, AddressRecord]]:
    for one in state.market.withdrawals.addresses.values():
        record = AddressRecord(one.account, one.asset, one.address, moments.write(one.first))
        yield _address_key(record), record


def _address_key(one: AddressRecord) -> str:
    return f"{one.account}|{one.asset}|{one.address}"


def _restore_addresses(state: State, file: StateFile, now: Instant) -> None:
    for one in ADDRESSES.of(file.sections).values():
        first = moments.read(now, one.first_used_at)
        state.market.withdrawals.use_address(AddressUse(one.account, one.asset, one.address, first))


def _check_address(reading: Reading, place: str, _key: str, one: AddressRecord) -> None:
    normal = normal_address(one.asset, one.address) == one.address
    reading.require(place, "its address is none of its asset, or not in its normal spelling", right=normal)
    reading.times(place, first_used_at=one.first_used_at)


def _keep_answers(state: State) -> Iterator[tuple[str, AnswerRecord]]:
    for one in state.market.answers:
        body, created_at = one.body.decode(), moments.write(one.created)
        record = AnswerRecord(one.account, one.route, one.key, one.digest.hex(), one.status, body, created_at)
        yield _answer_key(record), record


def _answer_key(one: AnswerRecord) -> str:
    return f"{one.account}|{one.route}|{one.key}"


def _restore_answers(state: State, file: StateFile, now: Instant) -> None:
    for one in ANSWERS.of(file.sections).values():
        digest, created = bytes.fromhex(one.digest), moments.read(now, one.created_at)
        state.market.answers.keep(
            KeptAnswer(one.account, one.route, one.key, digest, one.status, one.body.encode(), created)
        )


def _check_answer(reading: Reading, place: str, _key: str, one: AnswerRecord) -> None:
    reading.require(place, "its key is none", right=valid_key(one.key))
    reading.require(place, "its digest is not 64 hex digits", right=_DIGEST.fullmatch(one.digest) is not None)
    reading.require(place, "its status is none of a success", right=one.status in {201, 202})
    reading.times(place, created_at=one.created_at)


SECTION = Section(
    name="withdrawals", record=WithdrawalRecord, most=WITHDRAWALS_PENDING_MAX + WITHDRAWALS_FINISHED_MAX,
    form=WITHDRAWAL_ID, check=_check, hidden=frozenset(),
)  # fmt: skip
TABLE: Table[Any, WithdrawalRecord] = Table(section=SECTION, keep=_keep, restore=_restore, figures=_figures)
ADDRESSES = Section(
    name="addresses", record=AddressRecord, most=ADDRESSES_MAX, key=_address_key, check=_check_address,
    hidden=frozenset(),
)  # fmt: skip
ADDRESSES_TABLE: Table[Any, AddressRecord] = Table(section=ADDRESSES, keep=_keep_addresses, restore=_restore_addresses)
ANSWERS = Section(
    name="idempotency_keys", record=AnswerRecord, most=IDEMPOTENCY_KEYS_MAX, key=_answer_key, check=_check_answer,
    hidden=frozenset(),
)  # fmt: skip
ANSWERS_TABLE: Table[Any, AnswerRecord] = Table(section=ANSWERS, keep=_keep_answers, restore=_restore_answers)
