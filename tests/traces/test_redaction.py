"""No secret, and nothing from which one is nearly known, is left in a redacted text."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.traces.format import RawRequest
from simulator.traces.messages import Reference, references, resolve
from simulator.traces.redaction import Secrets, near_miss
from tests.traces.recorded import OWNER_TOKEN, digits, nearest, small_recording

TOKENS = [digits(f"token {index}", 48) for index in range(20)]
OWNER = "deployment-token"
NEAR = 4
"""Wrong characters that still make a near miss."""
AROUND = st.sampled_from(["", " ", '"', "X-Machine-Token: ", "ab", "0123456789abcdef" * 2, "${", "}", "\n", "é"])
HEX = "0123456789abcdef"


def make_secrets() -> Secrets:
    secrets = Secrets()
    secrets.add("owner.token", OWNER)
    for index, token in enumerate(TOKENS):
        secrets.add(f"machine.{index}.token", token)
    return secrets


def value_of(reference: Reference) -> str:
    secret = make_secrets().values[reference.name]
    return secret[reference.start : reference.end] if reference.end else secret


@given(st.lists(st.tuples(AROUND, st.sampled_from([*TOKENS, OWNER]), AROUND), min_size=1, max_size=4))
def test_a_secret_is_found_anywhere_and_comes_back_with_its_value(parts: list[tuple[str, str, str]]) -> None:
    text = "".join(before + secret + after for before, secret, after in parts)
    hidden = make_secrets().hide(text)
    assert all(secret not in hidden for _, secret, _ in parts)
    assert resolve(hidden, value_of) == text


@given(
    st.sampled_from(TOKENS),
    st.lists(st.tuples(st.integers(0, 47), st.sampled_from([*HEX, "g", "Z", "!", "-", " ", "é"])), max_size=NEAR),
    AROUND,
    AROUND,
)
def test_no_text_is_left_within_four_characters_of_a_secret(
    token: str, changes: list[tuple[int, str]], before: str, after: str
) -> None:
    characters = list(token)
    for at, character in changes:
        characters[at] = character
    hidden = make_secrets().hide(before + "".join(characters) + after)
    assert nearest(hidden, token) > NEAR


def test_four_characters_that_are_none_of_a_word_leave_one_short_piece_of_a_secret_at_most() -> None:
    token = "".join("!" if index in {9, 19, 28, 38} else digit for index, digit in enumerate(TOKENS[2]))
    hidden = make_secrets().hide(token)
    assert len(resolve(hidden, lambda _: "").replace("!", "")) <= 8
    assert resolve(hidden, value_of) == token


@pytest.mark.parametrize("change", [str.upper, lambda t: t[:-1], lambda t: t[1:], lambda t: t + "0", lambda t: t * 2])
def test_other_cases_and_lengths_of_a_secret_are_hidden(change: object) -> None:
    assert callable(change)
    hidden = make_secrets().hide(change(TOKENS[3]))
    assert {one.name for one in references(hidden)} == {"machine.3.token"}
    assert len(resolve(hidden, lambda _: "")) < 8


def test_a_near_miss_is_numbered_the_same_text_always_alike() -> None:
    secrets = make_secrets()
    first, second = (TOKENS[0][:9] + other + TOKENS[0][10:] for other in "gh")
    hidden = [secrets.hide(text) for text in (first, second, first)]
    assert hidden == ["${machine.0.token~1}", "${machine.0.token~2}", "${machine.0.token~1}"]


def test_a_piece_is_a_piece_wherever_it_is_from() -> None:
    assert make_secrets().hide(TOKENS[5][:47]) == "${machine.5.token[0:47]}"
    assert make_secrets().hide(TOKENS[5][10:30]) == "${machine.5.token[10:30]}"


@pytest.mark.parametrize(
    "text",
    [
        digits("a nonce", 24),
        f"wrk_{digits('worker', 16)}",
        digits("a random guess", 48),
        "X-Machine-Certificate-Id",
        "",
    ],
)
def test_what_is_nobodys_secret_stays(text: str) -> None:
    assert make_secrets().hide(text) == text


def test_a_near_miss_of_a_short_secret_is_hidden_and_an_ordinary_word_is_not() -> None:
    secrets = Secrets()
    secrets.add("owner.token", "dev-token")
    assert secrets.hide("Bearer dev-token") == "Bearer ${owner.token}"
    assert secrets.hide("Bearer dev-tokem") == "Bearer ${owner.token~1}"
    assert secrets.hide("machine_token") == "machine_token"


def test_a_secret_that_is_a_common_word_is_hidden_as_a_word_only() -> None:
    secrets = Secrets()
    secrets.add("owner.token", "token")
    assert secrets.hide('{"machine_token":"token"}') == '{"machine_token":"${owner.token}"}'


def test_a_secret_of_odd_characters_is_hidden_and_so_is_its_near_miss_where_credentials_belong() -> None:
    secrets = Secrets()
    secrets.add("owner.token", "a+b/c=d.e f!ghijk")
    assert secrets.hide("x a+b/c=d.e f!ghijk y") == "x ${owner.token} y"
    assert secrets.hide_credential("a+b/c=d.e f!ghijl") == "${owner.token~1}"
    assert secrets.hide_credential("something else!!!") == "something else!!!"


@given(st.sampled_from([*TOKENS, "dev-token"]), st.integers(1, 15 * 9))
def test_a_made_near_miss_is_wrong_in_one_character_and_its_own(secret: str, number: int) -> None:
    made = near_miss(secret, number)
    assert nearest(made, secret) == 1
    assert len({near_miss(secret, other) for other in range(1, number + 1)}) == number


def test_more_near_misses_than_one_character_allows_are_still_wrong_and_distinct() -> None:
    made = [near_miss("ab", number) for number in range(1, 60)]
    assert len(set(made)) == len(made)
    assert "ab" not in made


def test_the_first_name_of_a_secret_stays_and_an_empty_one_is_none() -> None:
    secrets = Secrets()
    secrets.add("machine.1.token", TOKENS[0])
    secrets.add("secret.1", TOKENS[0])
    secrets.add("secret.2", "")
    assert secrets.values == {"machine.1.token": TOKENS[0]}


@pytest.mark.parametrize(
    "line", [b"X-Machine-Token: %s", b"X-Api-Key:%s ", b"Authorization : Bearer %s", b"A: b\nX-Api-Key: %s"]
)
def test_a_malformed_request_keeps_no_near_miss_of_a_token_in_what_looks_like_a_header(line: bytes) -> None:
    recording = small_recording()
    near = OWNER_TOKEN[:-1].encode()
    recording.take(b"POST / HTTP/1.1\r\n" + line % near + b"\r\nContent-Length: 9\r\n\r\n{}", None)
    for redact in (True, False):
        request = recording.trace(redact=redact).exchanges[-1].request
        assert isinstance(request, RawRequest)
        assert (near in base64.b64decode(request.base64)) is not redact
