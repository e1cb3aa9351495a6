"""How every command is told of a deployment: its token, headers, certificates, addresses and settings."""

from __future__ import annotations

import io
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from simulator.client.access import INSECURE_WARNING, Access, AccessError, access_of, environ_of
from simulator.client.aim import JUDGED_SETTINGS, Aim
from simulator.client.target import TargetError, parse_target
from simulator.commands.cli import app
from simulator.commands.target_flags import FlagError, read_headers, read_settings, read_token
from simulator.limits import HEADERS_MAX, TOKEN_FILE_MAX_BYTES
from simulator.running import run as run_module
from tests.support.certificates import make_pair

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.cli.conftest import Hatchfarm
    from tests.support.forked import Finished

URL = "http://127.0.0.1:9"
REACHING = {"--token", "--token-file", "--header", "--cacert", "--insecure", "--cert", "--key"}


def options_of(command: str) -> set[str]:
    import typer.main  # noqa: PLC0415 - only here

    made: Any = typer.main.get_command(app)
    return {flag for parameter in made.commands[command].params for flag in parameter.opts}


@pytest.mark.parametrize("command", ["run", "replay", "capacity", "doctor", "worker"])
def test_every_command_that_speaks_to_a_deployment_has_the_same_flags(command: str) -> None:
    assert options_of(command) >= REACHING
    assert ("--target" in options_of(command)) is (command != "worker")
    assert ("--target-setting" in options_of(command)) is (command in {"run", "capacity", "doctor"})


class Asked:
    """What `run` was asked for, in place of a run."""

    def __init__(self, hatchfarm: Hatchfarm, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: list[Any] = []
        monkeypatch.setattr(run_module, "execute", self._execute)
        self._hatchfarm = hatchfarm
        self._path = str(hatchfarm.write("tiny.toml", duration="1s"))

    def _execute(self, request: Any, _console: object) -> int:
        self.requests.append(request)
        return 0

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> Finished:
        """Ask for a run."""
        return self._hatchfarm.invoke("run", self._path, *arguments, env=env)

    def refused(self, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """Ask for a run that must not begin; gives why."""
        finished = self.run(*arguments, env=env)
        assert (finished.code, self.requests) == (2, [])
        return finished.err


@pytest.fixture
def asked(hatchfarm: Hatchfarm, monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(hatchfarm, monkeypatch)


# --- the token


def test_a_token_comes_from_the_environment_a_file_or_standard_input(asked: Asked, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("from-the-file\n", encoding="utf-8")
    path.chmod(0o600)
    for arguments, env in (
        ((), {"HATCHFARM_API_TOKEN": "from-the-environment"}),
        (("--token-file", str(path)), {"HATCHFARM_API_TOKEN": "from-the-environment"}),
        ((), {"HATCHFARM_TOKEN_FILE": str(path)}),
        (("--token", "from-the-command-line"), {"HATCHFARM_TOKEN_FILE": str(path)}),
    ):
        assert asked.run("--target", URL, *arguments, env=env).code == 0
    assert [request.token for request in asked.requests] == [
        "from-the-environment", "from-the-file", "from-the-file", "from-the-command-line",
    ]  # fmt: skip


def test_standard_input_is_read_for_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"from-a-pipe\r\n")))
    assert read_token("-") == "from-a-pipe"
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(FlagError, match="holds no token"):
        read_token("-")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read (No such file"),
        (b"", "holds no token"),
        (b"\n", "holds no token"),
        (b"x" * (TOKEN_FILE_MAX_BYTES + 1), "which is no token"),
        (b"SECRET TWO", "printable ASCII"),
        (b"SECRET\n\n", "printable ASCII"),
        (b"\xffSECRET", "printable ASCII"),
    ],
)
def test_a_file_that_holds_no_token_is_refused_and_not_shown(
    asked: Asked, tmp_path: Path, content: bytes | None, says: str
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    why = asked.refused("--target", URL, "--token-file", str(path))
    assert says in why
    assert "SECRET" not in why


def test_a_token_that_others_can_read_is_taken_with_a_warning(asked: Asked, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("token", encoding="utf-8")
    path.chmod(0o644)
    finished = asked.run("--target", URL, "--token-file", str(path))
    assert (finished.code, "others can read it: chmod 600" in finished.err) == (0, True)


def test_two_tokens_on_one_command_line_are_refused(asked: Asked, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("token", encoding="utf-8")
    assert "give one of them" in asked.refused("--target", URL, "--token", "t", "--token-file", str(path))


def test_without_a_token_the_ways_to_give_one_are_named(asked: Asked) -> None:
    why = asked.refused("--target", URL)
    assert "set HATCHFARM_API_TOKEN, or give --token-file" in why


# --- headers


def test_headers_come_from_flags_or_a_line_each_from_the_environment(asked: Asked) -> None:
    env = {"HATCHFARM_API_TOKEN": "t"}
    headers = ["X-Gate: open sesame", "Cookie:a=b"]
    given = [argument for header in headers for argument in ("--header", header)]
    asked.run("--target", URL, *given, env=env)
    asked.run("--target", URL, env={**env, "HATCHFARM_HEADER": "\n".join(headers) + "\n"})
    wanted = (("X-Gate", "open sesame"), ("Cookie", "a=b"))
    assert [request.aim.access.headers for request in asked.requests] == [wanted, wanted]
    assert asked.requests[0].aim.options == ("--header", "X-Gate: [redacted]", "--header", "Cookie: [redacted]")
    assert "sesame" not in repr(asked.requests[0].aim)


@pytest.mark.parametrize(
    "header", ["SECRET", ": SECRET", "X Y: SECRET", "X-Y: SECRET\x7f", "X-Y: SÉCRET", "X-Y:", "X-Y: a\r\nZ: SECRET"]
)
def test_a_header_that_is_none_is_refused_and_not_shown(header: str) -> None:
    with pytest.raises(FlagError, match="number 1 is none") as refused:
        list(read_headers([header]))
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize("name", ["Authorization", "host", "Content-Length", "x-owner-id", "X-MACHINE-TOKEN", "TE"])
def test_a_header_that_the_contract_uses_itself_is_refused(name: str) -> None:
    with pytest.raises(FlagError, match="carry it themselves"):
        list(read_headers([f"{name}: x"]))


def test_too_many_headers_are_refused() -> None:
    with pytest.raises(FlagError, match="more than"):
        list(read_headers(["A: b"] * (HEADERS_MAX + 1)))


# --- TLS


def test_authorities_and_certificates_are_read_before_anything_begins(asked: Asked, tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    nothing = tmp_path / "nothing"
    nothing.write_text("nothing", encoding="utf-8")
    env = {"HATCHFARM_API_TOKEN": "t", "HATCHFARM_TARGET": "https://127.0.0.1:9"}
    for arguments, says in (
        (("--cacert", "missing"), "--cacert missing: cannot be read"),
        (("--cacert", str(nothing)), "holds no certificate in PEM"),
        (("--cert", "missing"), "cannot be read"),
        (("--cert", str(nothing)), "cannot be used"),
        (("--cert", str(pair.certificate)), "--key names its key"),
        (("--key", str(pair.key)), "give --cert too"),
        (("--insecure", "--cacert", str(pair.certificate)), "give one of them"),
    ):
        assert says in asked.refused(*arguments, env=env)
    good = ("--cacert", str(pair.certificate), "--cert", str(pair.certificate), "--key", str(pair.key))
    assert asked.run(*good, env=env).code == 0
    access = asked.requests[0].aim.access
    assert access.trusted == pair.certificate.read_text("ascii")
    assert asked.requests[0].aim.options == good
    assert access_of(environ_of(access)) == access


def test_an_encrypted_key_asks_nobody_for_its_password(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - only here
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    pair = make_pair(tmp_path)
    key = load_pem_private_key(pair.key.read_bytes(), None)
    pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")))
    with pytest.raises(AccessError, match="encrypted"):
        Access(certificate=str(pair.certificate), key=str(pair.key)).context()


def test_insecure_is_loud(asked: Asked) -> None:
    env = {"HATCHFARM_API_TOKEN": "t"}
    finished = asked.run("--target", "https://127.0.0.1:9", "--insecure", env=env)
    assert finished.err == f"hatchfarm run: BEWARE: {INSECURE_WARNING}\n"
    assert Access(insecure=True).warnings == [INSECURE_WARNING]
    assert Access(insecure=True).context().verify_mode is ssl.CERT_NONE
    assert Access().warnings == []


def test_what_is_for_tls_is_refused_of_plain_http() -> None:
    with pytest.raises(TargetError, match="are for https://"):
        parse_target(URL, "t", Access(insecure=True))


def test_another_process_has_the_way_from_its_environment_or_refuses_it() -> None:
    access = Access(headers=(("X-Gate", "open"),), insecure=True)
    assert access_of(environ_of(access)) == access
    assert access_of({}) == Access()
    with pytest.raises(AccessError, match="HATCHFARM_TARGET_ACCESS"):
        access_of({"HATCHFARM_TARGET_ACCESS": "nonsense"})


# --- what is said of the target


def test_addresses_and_settings_reach_the_run_and_its_scenario(asked: Asked) -> None:
    env = {"HATCHFARM_API_TOKEN": "t"}
    output = ("--shared-address", "--target-setting", "RATE_LIMIT_BURST=40", "--strict-settings")
    asked.run("--target", URL, *output, env=env)
    asked.run("--target", URL, "--own-addresses", env=env)
    asked.run("--target", URL, env={**env, "HATCHFARM_TARGET_SETTING": "RATE_LIMIT_BURST=40 AUDIT_EVENTS_PER_STREAM=9"})
    first, second, third = asked.requests
    assert first.aim.options == output
    assert (first.aim.addresses, second.aim.addresses, third.aim.addresses) == ("shared", "own", "")
    assert (first.aim.strict_settings, second.aim.strict_settings) == (True, False)
    assert first.scenario.server.environ()["RATE_LIMIT_BURST"] == "40"
    assert third.aim.settings == {"RATE_LIMIT_BURST": "40", "AUDIT_EVENTS_PER_STREAM": "9"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["RATE_LIMIT_BURST"], "write it like RATE_LIMIT_BURST=40"),
        (["=40"], "write it like"),
        (["RATE_LIMIT_BURTS=4"], "did you mean 'RATE_LIMIT_BURST'?"),
        (["HATCHFARM_API_TOKEN=t"], "nothing is judged by it"),
        (["NONSENSE=1"], "unknown server setting"),
        (["RATE_LIMIT_BURST=many"], "RATE_LIMIT_BURST"),
        (["RATE_LIMIT_BURST=0"], "RATE_LIMIT_BURST"),
        (["RATE_LIMIT_BURST=1", "RATE_LIMIT_BURST=2"], "given twice"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(given: list[str], says: str) -> None:
    with pytest.raises(FlagError) as refused:
        read_settings(given)
    assert str(refused.value).startswith("--target-setting ")
    assert says in str(refused.value)


def test_every_setting_that_is_judged_by_may_be_said() -> None:
    assert read_settings([f"{name}={value}" for name, value in JUDGED_SETTINGS.items()])


def test_what_is_about_a_deployment_is_refused_without_one(asked: Asked) -> None:
    assert "--shared-address is about a deployment" in asked.refused("--shared-address")
    assert asked.run(env={"HATCHFARM_SHARED_ADDRESS": "true", "HATCHFARM_API_TOKEN": "t"}).code == 0
    assert asked.requests[0].aim == Aim()
