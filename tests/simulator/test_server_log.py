"""What servers of a run's own have logged is searched for every secret of the run, in every form, and shows none."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import example, given
from hypothesis import strategies as st

from simulator.checkers.server_log import Leak, LogSearch, check_log
from simulator.checkers.verdict import Status
from simulator.client.answers import HttpAnswer
from simulator.client.known_secrets import KnownSecrets
from simulator.deployment.certificate import make_certificate
from simulator.deployment.server_log import ServerLog, leaks_in, search_logs, secrets_of
from simulator.deployment.server_process import own_server
from simulator.limits import LOG_KEPT_MAX_BYTES, SECRETS_KNOWN_MAX
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRETS = st.binary(min_size=8, max_size=80)
ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda text: text,
    "in hex": lambda text: text.hex().encode(),
    "in capital hex": lambda text: text.hex().upper().encode(),
    "in base64": base64.b64encode,
    "in base64 for URLs": base64.urlsafe_b64encode,
    "in a URL": lambda text: quote(text, safe="").encode(),
    "in a URL's path": lambda text: quote(text, safe="/").encode(),
    "in a URL in small hex": lambda text: re.sub("%..", lambda found: found[0].lower(), quote(text)).encode(),
    "in a form": lambda text: quote_plus(text).encode(),
    "as Python shows bytes": lambda text: repr(text).encode(),
}
TEXT_ENCODINGS: dict[str, Callable[[str], str]] = {
    "in JSON": json.dumps,
    "in JSON of any letters": partial(json.dumps, ensure_ascii=False),
    "in JSON as it is put into HTML": lambda text: json.dumps(text).replace("/", "\\/"),
    "as Python shows text": repr,
}
TEXTS = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from("'\"\\/\n")))


def known_of(*secrets: bytes) -> KnownSecrets:
    known = KnownSecrets()
    for secret in secrets:
        known.add(secret, "machine token")
    return known


def search(text: bytes, known: KnownSecrets) -> LogSearch:
    log = ServerLog()
    log.take(text)
    return search_logs([("the server", log, {})], known)


@pytest.mark.parametrize("form", ENCODINGS)
@given(secret=SECRETS, before=st.binary(max_size=70), behind=st.binary(max_size=70), others=st.lists(SECRETS))
@example(secret=b"ab/cd ef/gh", before=b"", behind=b"", others=[])
def test_a_secret_is_found_in_every_form_wherever_it_begins(
    form: str, secret: bytes, before: bytes, behind: bytes, others: list[bytes]
) -> None:
    """Also within something longer that is encoded as a whole."""
    found = search(b"a line\n" + ENCODINGS[form](before + secret + behind), known_of(*others, secret))
    assert found.leaks
    assert check_log(found).status is Status.FAIL


@pytest.mark.parametrize("form", TEXT_ENCODINGS)
@given(secret=TEXTS.filter(lambda text: len(text.encode()) >= 8), before=TEXTS, behind=TEXTS)
def test_a_secret_is_found_where_a_text_around_it_was_escaped(form: str, secret: str, before: str, behind: str) -> None:
    text = TEXT_ENCODINGS[form](before + secret + behind)
    assert search(b"a line\n" + text.encode(), known_of(secret.encode())).leaks


@given(secrets=st.lists(st.binary(min_size=12, max_size=12), max_size=20, unique=True))
def test_what_is_no_secret_is_none(secrets: list[bytes]) -> None:
    """Neither half of one, nor all that is said about it."""
    text = b"\n".join(b"%s | %s" % (secret[:6], secret[7:]) for secret in secrets if b"\n" not in secret)
    found = search(text, known_of(*(b"x" * 12 + secret for secret in secrets)))
    assert (found.leaks, found.secrets) == ((), len(secrets))


class Counting(Mapping[bytes, Any]):
    """Counts how often it is asked."""

    def __init__(self, items: Mapping[bytes, Any]) -> None:
        self._items = items
        self.asked = 0

    def __getitem__(self, key: bytes) -> Any:
        self.asked += 1
        return self._items[key]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


@pytest.mark.parametrize("secrets", [2, 2_000])
def test_what_a_search_takes_is_what_the_log_has_however_many_secrets_begin_alike(secrets: int) -> None:
    """As sessions of one kind do; all of them are in the log up to their last character."""
    needles = Counting({b"hfs_same%06d" % number: ("session token", "as it is") for number in range(secrets)})
    lengths = Counting({b"hfs_same": {14}})
    text = b"\n".join(b"hfs_same%05d?" % number for number in range(200)) + b"\nhfs_same000001"
    assert list(leaks_in("a", text, needles, lengths)) == [Leak("a", "session token", "as it is", 201)]
    assert lengths.asked == len(text) - 7
    assert needles.asked == 201


def test_a_finding_names_server_kind_form_and_line_and_not_the_secret() -> None:
    secret = b"0123456789abcdef" * 3
    log = ServerLog()
    log.take(b"started\ntoken=" + base64.b64encode(secret)[:30])
    log.take(base64.b64encode(secret)[30:] + b"\n" + base64.b64encode(secret))
    found = search_logs([("instance 0", ServerLog(), {}), ("instance 1", log, {})], known_of(secret))
    assert found.leaks == (Leak("instance 1", "machine token", "in base64", 2),)
    verdict = check_log(found)
    assert verdict.findings[0].message == ("the log of instance 1 holds a secret in line 2: a machine token, in base64")
    shown = msgspec.json.encode(verdict)
    assert secret[:8] not in shown
    assert base64.b64encode(secret)[:8] not in shown


@pytest.mark.parametrize(
    ("answer", "secrets"),
    [
        (b'{"success":true,"data":{"machine_token":"0123456789ab"}}', {b"0123456789ab": "machine token"}),
        (b'{"data":{"agent":{},"api_key":"hfk_00000000"}}', {b"hfk_00000000": "API key"}),
        (b'{"data": {"token" : "hfs_11111111"}}', {b"hfs_11111111": "session token"}),
        (b"<code>hfk_" + b"a" * 64 + b"</code>", {b"hfk_" + b"a" * 64: "API key"}),
        (b'{"data": {"token"\n:\n"ab\\/cd\\u0065fgh"}}', {b"ab/cdefgh": "session token"}),
        (b'{"data": {"token":"ab\\xcdefgh"}}', {b"ab\\xcdefgh": "session token"}),
        (b'{"data":{"body":"\\"token\\":\\"12345678\\""}}', {}),
    ],
)
def test_what_an_answer_gives_out_is_known(answer: bytes, secrets: dict[bytes, str]) -> None:
    known = KnownSecrets()
    known.see(b"", HttpAnswer(201, b"HTTP/1.1 201 Created", answer, keep=True))
    assert known.kinds == secrets


def test_cookies_and_identities_that_were_believed_are_known() -> None:
    known = KnownSecrets()
    request = b"GET / HTTP/1.1\r\nX-Moltbook-Identity: eyJhbGciOi\r\n\r\n"
    known.see(request, HttpAnswer(401, b"HTTP/1.1 401 Unauthorized\r\nset-cookie: gone=; Path=/", b"", keep=True))
    assert known.kinds == {}
    known.see(request, HttpAnswer(200, b"HTTP/1.1 200 OK\r\nSet-Cookie: hf_session=abcdefgh; Path=/", b"", keep=True))
    assert known.kinds == {b"abcdefgh": "cookie", b"eyJhbGciOi": "Moltbook identity"}


def test_settings_and_private_keys_are_secrets_and_addresses_of_tokens_are_not(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    path = tmp_path / "key.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    raw = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    found = secrets_of(
        {
            "HATCHFARM_API_TOKEN": "short",
            "GITHUB_CLIENT_SECRET": "of the provider",
            "GITHUB_TOKEN_URL": "http://127.0.0.1/token",
            "MACHINE_CERT_SIGNING_KEY_FILE": str(path),
            "TLS_KEY_FILE": str(tmp_path / "none"),
            "MAX_TOKENS": "4096",
            "FARM_KEY": "key of a farm",
            "PUBLIC_KEY": "known to all",
            "DATABASE_URL": "postgres://farm:pass%2Fword@127.0.0.1/farm",
            "OTHER_URL": "postgres://farm@127.0.0.1:12345678/farm?a=b://@[",
            "PORT": "12345678",
        }
    )
    assert found[b"short"] == "value of HATCHFARM_API_TOKEN"
    assert found[b"of the provider"] == "value of GITHUB_CLIENT_SECRET"
    assert found[raw] == "private key of MACHINE_CERT_SIGNING_KEY_FILE"
    assert found[b"key of a farm"] == "value of FARM_KEY"
    assert found[b"pass%2Fword"] == found[b"pass/word"] == "password in DATABASE_URL"
    assert not {b"known to all", b"http://127.0.0.1/token", b"4096", b"12345678"} & found.keys()
    log = ServerLog()
    log.take(path.read_bytes())
    assert search_logs([("the server", log, found)], KnownSecrets()).leaks


@pytest.mark.parametrize("keys_first", [True, False])
def test_a_certificate_beside_a_key_is_public_and_all_of_the_key_can_be_looked_for(
    tmp_path: Path, *, keys_first: bool
) -> None:
    """Also one whose last line is short, and one of a kind with a name of its own."""
    made = make_certificate(tmp_path, datetime(2026, 1, 1, tzinfo=UTC))
    certificate, own = made.pem.encode(), Path(made.settings["TLS_KEY_FILE"]).read_bytes()
    short = pem_of("EC PRIVATE KEY", bytes(range(97)))
    path = tmp_path / "both.pem"
    path.write_bytes(own + short + certificate if keys_first else certificate + own + short)
    secrets = secrets_of({"TLS_KEY_FILE": str(path)})
    log, known = ServerLog(), KnownSecrets()
    log.take(b"we speak TLS by\n" + certificate)
    found = search_logs([("the server", log, secrets)], known)
    assert found.leaks == ()
    assert check_log(found).status is Status.PASS
    for key in (own, short):
        leaking = ServerLog()
        leaking.take(key)
        assert search_logs([("the server", leaking, secrets)], KnownSecrets()).leaks


def pem_of(label: str, der: bytes) -> bytes:
    text = base64.b64encode(der).decode()
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode()


def test_a_token_that_is_a_word_is_not_looked_for_and_that_is_said() -> None:
    log = ServerLog()
    log.take(b"development server started\n")
    settings = secrets_of({"HATCHFARM_API_TOKEN": "development"})
    found = search_logs([("instance 0", log, settings), ("instance 1", ServerLog(), settings)], KnownSecrets())
    verdict = check_log(found)
    assert verdict.status is Status.NOT_APPLICABLE
    assert "1 secret could not be looked for" in verdict.summary


@pytest.mark.parametrize(
    ("cookie", "secret"),
    [
        (b"theme=darkdark; Path=/", False),
        (b"theme=darkdark; HttpOnlyish; Path=/", False),
        (b"theme=darkdark; Path=/session", False),
        (b"id=darkdark; Path=/; httponly", True),
        (b"id=darkdark; HttpOnly; Path=/", True),
        (b"__Host-hf_session=darkdark", True),
        (b"csrf_token=darkdark; Path=/", True),
    ],
)
def test_only_a_cookie_that_lets_somebody_in_is_a_secret(cookie: bytes, *, secret: bool) -> None:
    known = KnownSecrets()
    known.see(b"", HttpAnswer(200, b"HTTP/1.1 200 OK\r\nSet-Cookie: " + cookie, b"", keep=True))
    assert known.kinds == ({b"darkdark": "cookie"} if secret else {})


@pytest.mark.parametrize(
    ("search", "status", "why"),
    [
        (LogSearch(1, 10, 0, 3, 0), Status.PASS, "None of 3 secrets"),
        (LogSearch(1, 0, 0, 3, 0), Status.NOT_APPLICABLE, "nothing was logged"),
        (LogSearch(1, 10, 7, 3, 0), Status.NOT_APPLICABLE, "7 bytes were more than is kept"),
        (LogSearch(1, 10, 0, 3, 1), Status.NOT_APPLICABLE, "1 secret could not be looked for"),
        (LogSearch(1, 10, 0, 3, 0, "others have them"), Status.NOT_APPLICABLE, "others have them"),
        (LogSearch(1, 10, 7, 3, 1, "x", (Leak("s", "API key", "in hex", 1),), 1), Status.FAIL, "an API key, in hex"),
    ],
)
def test_a_search_that_did_not_see_all_proves_nothing_but_what_it_found(
    search: LogSearch, status: Status, why: str
) -> None:
    verdict = check_log(search)
    assert verdict.status is status
    assert why in verdict.summary


def test_all_of_it_is_bounded() -> None:
    log = ServerLog()
    log.take(b"x" * (LOG_KEPT_MAX_BYTES - 1))
    log.take(b"yz")
    assert (len(log.kept), log.kept[-1:], log.more_bytes) == (LOG_KEPT_MAX_BYTES, b"y", 1)
    known = KnownSecrets()
    for number in range(SECRETS_KNOWN_MAX + 2):
        known.add(b"%08d" % number, "machine token")
    known.add(b"%08d" % 0, "machine token")
    known.add(b"short", "cookie")
    assert (len(known.kinds), known.left_out, known.too_short) == (SECRETS_KNOWN_MAX, 2, 1)


async def test_a_server_that_logs_its_token_is_found_out_whichever_output_it_uses(tmp_path: Path) -> None:
    program = tmp_path / "server.py"
    program.write_text(
        "import os, sys\n"
        'print("Listening on http://x", flush=True)\n'
        'print("output", os.environ["HATCHFARM_API_TOKEN"], flush=True)\n'
        'sys.stderr.write(os.environ["HATCHFARM_API_TOKEN"].encode().hex() + "\\n")\n'
    )
    async with own_server({}, "token-of-the-run", command=(str(program),)) as server:
        await until(lambda: b"output" in server.log.kept and server.errors.endswith(b"\n"))
    found = search_logs([("the server", server.log, server.secrets)], KnownSecrets())
    assert {(one.kind, one.form) for one in found.leaks} == {
        ("value of HATCHFARM_API_TOKEN", "as it is"),
        ("value of HATCHFARM_API_TOKEN", "in hex"),
    }
