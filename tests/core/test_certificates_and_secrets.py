"""Certificates can be checked by anyone, offline; secrets are seen by nobody but who must (contract §2, §3, §11)."""

from __future__ import annotations

import base64
import logging
import re
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from reference_server.adapters.clock import SystemClock
from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.app import make_api
from reference_server.pipeline.answering import internal_error
from reference_server.wire.signing import CertificateSigner, verify_certificate
from reference_server.wire.timestamps import parse_timestamp
from tests.core.server_under_test import CERTIFICATE_LIFE, SECOND, TOKEN, UNKNOWN_WORKER, Answer, Server, owner_headers

if TYPE_CHECKING:
    from pathlib import Path


def published_key(server: Server) -> dict[str, str]:
    answer = server.send("GET", "/.well-known/hatchfarm-keys", prefix="")
    assert answer.headers["content-type"] == "application/json"
    (key,) = answer.json["keys"]
    assert isinstance(key, dict)
    return key


def genuine(key: dict[str, str], certificate: dict[str, str]) -> bool:
    """Verify as a stranger would, from RFC 8037 and the contract alone."""
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("OKP", "Ed25519", "EdDSA", "sig")
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "="))
    names = ("certificate_id", "machine_id", "issued_at", "expires_at")
    try:
        public.verify(base64.b64decode(certificate["signature"]), "|".join(certificate[n] for n in names).encode())
    except InvalidSignature:
        return False
    return True


def test_certificates_of_registration_and_rotation_verify_offline(server: Server) -> None:
    key = published_key(server)
    for wait in (0, 1, SECOND // 2, CERTIFICATE_LIFE):
        server.pass_time(wait)
        machine = server.register()
        headers = {**owner_headers("ada"), "x-machine-token": machine.token}
        rotated = server.send("POST", f"/machines/{machine.id}/certificate", None, headers).data
        for certificate in (machine.certificate, rotated):
            assert genuine(key, certificate)
            assert verify_certificate(key, certificate)
            issued, expires = (parse_timestamp(certificate[name]) for name in ("issued_at", "expires_at"))
            assert issued == server.now.wall_ns
            assert expires == server.now.wall_ns + CERTIFICATE_LIFE
            assert certificate["machine_id"] == machine.id


@pytest.mark.parametrize("life_seconds", [1, 20, 86_400])
def test_a_certificate_shows_the_life_it_is_given_and_is_good_until_the_nanosecond_it_ends(life_seconds: int) -> None:
    server = Server(certificate_life_seconds=life_seconds)
    machine, policy_id = server.register(), server.policy()
    server.consent(machine, policy_id)
    issued, expires = (parse_timestamp(machine.certificate[name]) for name in ("issued_at", "expires_at"))
    assert issued is not None
    assert expires == issued + life_seconds * SECOND
    server.pass_time(life_seconds * SECOND - 1)
    assert server.beat(machine, policy_id, "aa").status == 200
    server.pass_time(1)
    assert server.beat(machine, policy_id, "bb").error == (401, "invalid heartbeat auth")


@pytest.mark.parametrize("field", ["certificate_id", "machine_id", "issued_at", "expires_at", "signature"])
def test_a_certificate_with_anything_changed_does_not_verify(server: Server, field: str) -> None:
    certificate, other = server.register().certificate, server.register().certificate
    forged = {**certificate, field: certificate[field].replace("2026", "2027")}
    if forged == certificate:
        forged[field] = other[field]
    assert not genuine(published_key(server), forged)
    assert not verify_certificate(published_key(server), forged)


def test_a_certificate_of_another_server_does_not_verify(server: Server) -> None:
    stranger = Server()
    stranger.api = make_api({"HATCHFARM_API_TOKEN": TOKEN}, SeededEntropy(), SystemClock())
    assert not genuine(published_key(stranger), server.register().certificate)


def test_the_published_key_holds_no_private_part(server: Server) -> None:
    assert published_key(server).keys() == {"kty", "crv", "x", "kid", "use", "alg"}


# -- secrets


def every_kind_of_answer(server: Server) -> list[Answer]:
    """Walk through the whole API, right and wrong, after one registration."""
    machine = server.register()
    policy_id = server.policy()
    consent_id = server.consent(machine, policy_id)
    with_token = {**owner_headers("ada"), "x-machine-token": machine.token}
    secret_in_odd_places = {"x-request-id": machine.token, "x-other": TOKEN, "origin": "http://localhost:3000"}
    answers = [
        server.send("POST", f"/machines/{machine.id}/certificate", None, with_token),
        server.send("POST", f"/machines/{machine.id}/certificate", None, {**with_token, "x-owner-id": "eve"}),
        server.send("POST", f"/machines/{UNKNOWN_WORKER}/certificate", None, with_token),
        server.send("POST", f"/consents/{consent_id}/revoke", None, owner_headers("eve")),
        server.send("GET", "/status", None, secret_in_odd_places),
        server.send("POST", "/machines/register", {"token": machine.token}, owner_headers()),
    ]
    machine = machine._replace(certificate=answers[0].data)
    answers += [
        server.beat(machine, policy_id, "nonce"),
        server.beat(machine, policy_id, "nonce"),
        server.beat(machine._replace(token="0" * 48), policy_id, "other"),
    ]
    for path in ("/workers/summary", "/workers/statuses", "/audit/events", "/metrics", "/status"):
        answers.append(server.send("GET", path, None, owner_headers("ada")))
        answers.append(server.send("GET", path, None, {"authorization": f"Bearer {machine.token}"}))
    for path in (f"/workers/{machine.id}/status", f"/workers/{machine.id}/policy", f"/workers/{UNKNOWN_WORKER}/policy"):
        answers.append(server.send("GET", path, None, {**owner_headers("ada"), **machine.headers}))
    answers.append(server.send("GET", "/health", prefix=""))
    answers.append(server.send("DELETE", "/policies", None, with_token))
    assert {answer.status for answer in answers} >= {200, 400, 401, 403, 404, 405}
    return [*answers, Answer(0, {}, machine.token.encode())]


def test_no_answer_but_the_registration_shows_a_secret(
    server: Server, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    *answers, token = every_kind_of_answer(server)
    for secret in (TOKEN, token.body.decode()):
        assert [answer for answer in answers if secret in repr(answer)] == []
        assert secret not in caplog.text
        assert secret not in "".join(capsys.readouterr())


def test_settings_do_not_show_the_token(server: Server) -> None:
    assert TOKEN in server.settings.api_token
    for shown in (repr(server.settings), str(server.settings), f"{server.settings}", f"{server.settings!r:>200}"):
        assert TOKEN not in shown


@pytest.mark.parametrize("thing", ["api", "state", "signer"])
def test_what_holds_secrets_does_not_show_them(server: Server, thing: str) -> None:
    machine = server.register()
    worker = server.api.state.workers[machine.id]
    shown: dict[str, Any] = {"api": server.api, "state": server.api.state, "signer": server.api.state.signer}
    for text in (repr(shown[thing]), repr(worker), repr([worker.owner])):
        assert TOKEN not in text
        assert machine.token not in text


def test_a_fault_is_logged_without_the_request(caplog: pytest.LogCaptureFixture) -> None:
    """The traceback names lines of code, never the values on them."""

    def fail(token: str) -> None:
        raise ZeroDivisionError(len(token) and "a fault")

    try:
        fail(TOKEN)
    except ZeroDivisionError:
        reply = internal_error("GET /v1/status")
    assert (reply.status, reply.body) == (500, b'{"success":false,"error":"internal error"}')
    assert "GET /v1/status" in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("terminal", [True, False])
def test_an_ephemeral_token_is_told_once_it_is_served_and_never_logged(
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    terminal: bool,
) -> None:
    """To a terminal; else it is left in a file for its owner only, for standard error is a log then."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    api = make_api({}, SeededEntropy(), SystemClock())
    token = api.settings.api_token
    assert re.fullmatch("[0-9a-f]{48}", token)
    assert capsys.readouterr() == ("", "")
    trio.run(partial(api.background_tasks[-1], task_status=trio.TASK_STATUS_IGNORED))
    printed = capsys.readouterr()
    assert printed.out == ""
    if terminal:
        assert printed.err == f"Owner token of this run: {token}\n"
    else:
        (left,) = tmp_path.iterdir()
        assert printed.err == f"Owner token of this run: in {left}, until the server stops\n"
        assert (left.read_text(), left.stat().st_mode & 0o777) == (f"{token}\n", 0o600)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "HATCHFARM_API_TOKEN" in record.message
    assert token not in caplog.text
    assert make_api({}, SeededEntropy("another"), SystemClock()).settings.api_token != token


def test_a_given_token_is_neither_printed_nor_logged(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    assert make_api({"HATCHFARM_API_TOKEN": TOKEN}, SeededEntropy(), SystemClock()).settings.api_token == TOKEN
    assert capsys.readouterr() == ("", "")
    assert caplog.text == ""


def test_a_signing_key_file_is_used(tmp_path: Path) -> None:
    """So that certificates stay valid over a restart."""
    seed = b"s" * 32
    key = Ed25519PrivateKey.from_private_bytes(seed)
    file = tmp_path / "key.pem"
    file.touch(0o600)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    environ = {"HATCHFARM_API_TOKEN": TOKEN, "MACHINE_CERT_SIGNING_KEY_FILE": str(file)}
    signer = make_api(environ, SeededEntropy(), SystemClock()).state.signer
    assert signer.jwk_set == CertificateSigner.from_seed(seed).jwk_set
