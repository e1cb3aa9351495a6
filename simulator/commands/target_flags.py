"""The flags by which every command that speaks to a deployment is told of it: once, for all of them."""

from __future__ import annotations

import inspect
import os
import re
import stat
import sys
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.client.access import INSECURE_WARNING, Access, AccessError, TokenError, check_token
from simulator.client.aim import JUDGED_SETTINGS, OWN, PLAYED_SETTINGS, SHARED, Aim
from simulator.commands.failing import fail
from simulator.commands.reading import see_input_is_read_once
from simulator.limits import CERTIFICATES_MAX_BYTES, HEADERS_MAX, HEADERS_MAX_CHARACTERS, TOKEN_FILE_MAX_BYTES
from simulator.platform.wording import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN_VARIABLE = "HATCHFARM_API_TOKEN"  # noqa: S105 - the variable's name, not its value
HEADER_VARIABLE = "HATCHFARM_HEADER"
REDACTED = "[redacted]"
NO_TOKEN = f"--target needs the deployment's owner token: set {TOKEN_VARIABLE}, or give --token-file"
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([!-~](?:[ -~]*[!-~])?)")
_OWN_HEADERS = frozenset({
    "authorization", "connection", "content-length", "content-type", "expect", "host", "keep-alive", "te", "trailer",
    "transfer-encoding", "upgrade", "x-machine-certificate-id", "x-machine-token", "x-owner-id",
})  # fmt: skip
"""Headers that requests of the contract carry themselves: a second one would change what is asked."""

TargetUrl = Annotated[
    str | None,
    typer.Option(
        "--target",
        help="A running deployment, like http://127.0.0.1:8080 or https://host/base; without, a server of its own.",
        envvar="HATCHFARM_TARGET",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        help="The deployment's owner token; better in the environment or a file, where no other user sees it.",
        envvar=TOKEN_VARIABLE,
        show_envvar=True,
    ),
]
TokenFile = Annotated[
    str | None,
    typer.Option(
        "--token-file", help="A file with the owner token, `-` for standard input.", envvar="HATCHFARM_TOKEN_FILE"
    ),
]
Headers = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        help="`NAME: VALUE`, sent with every request; may be given several times, in the environment a line each.",
        envvar=HEADER_VARIABLE,
    ),
]
AuthorityFile = Annotated[
    Path | None,
    typer.Option("--cacert", help="The authorities that TLS trusts, as PEM, and no others.", envvar="HATCHFARM_CACERT"),
]
Insecure = Annotated[
    bool,
    typer.Option("--insecure", help="Do not check the target's certificate.", envvar="HATCHFARM_INSECURE"),
]
ClientCertificate = Annotated[
    Path | None,
    typer.Option("--cert", help="The certificate that TLS shows, as PEM.", envvar="HATCHFARM_CERT"),
]
ClientKey = Annotated[
    Path | None,
    typer.Option("--key", help="The key of --cert, where it is another file.", envvar="HATCHFARM_KEY"),
]
SharedAddress = Annotated[
    bool | None,
    typer.Option(
        "--shared-address/--own-addresses",
        help="Whether the target's server sees all machines at one address, as behind a published container port; "
        "else the run finds out.",
        envvar="HATCHFARM_SHARED_ADDRESS",
    ),
]
TargetSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--target-setting",
        help="`NAME=VALUE`: a setting the target was started with, over the scenario's; may be given several times.",
        envvar="HATCHFARM_TARGET_SETTING",
    ),
]
StrictSettings = Annotated[
    bool,
    typer.Option(
        "--strict-settings",
        help="Take the settings for certain: a target that shows others is wrong, and not only inconclusive.",
        envvar="HATCHFARM_STRICT_SETTINGS",
    ),
]

_REACHING: dict[str, tuple[Any, Any]] = {
    "token": (Token, None),
    "token_file": (TokenFile, None),
    "header": (Headers, None),
    "cacert": (AuthorityFile, None),
    "insecure": (Insecure, False),
    "cert": (ClientCertificate, None),
    "key": (ClientKey, None),
}
_AIMING: dict[str, tuple[Any, Any]] = {"target": (TargetUrl, None), "shared_address": (SharedAddress, None)}
_JUDGING: dict[str, tuple[Any, Any]] = {
    "target_setting": (TargetSettings, None),
    "strict_settings": (StrictSettings, False),
}


class FlagError(Exception):
    """A flag that cannot be meant; the message says which and why, and shows no secret."""


class TargetFlags:
    """What a command is told of its target: `url` None and `token` empty where it is told of none."""

    def __init__(self, url: str | None, token: str, aim: Aim) -> None:
        self.url = url
        self.token = token
        self.aim = aim


def aimed(*, url: bool = True, judging: bool = True) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return what gives a command the flags of a target: it takes them as one argument, `target`.

    Without `url` it is told elsewhere which target that is; without `judging` it does not judge by settings.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        flags = {**(_AIMING if url else {}), **_REACHING, **(_JUDGING if judging else {})}

        @wraps(command)
        def aimed_command(ctx: typer.Context, **arguments: Any) -> None:
            given = {name: arguments.pop(name) for name in flags}
            given_names = {name for name in flags if _source(ctx, name) == "COMMANDLINE"}
            if _source(ctx, "header") == "ENVIRONMENT":
                given["header"] = os.environ.get(HEADER_VARIABLE, "").splitlines()
            sources = [*arguments.get("scenarios", ()), arguments.get("scenario")]
            if _reads_token(given, given_names, aimed_elsewhere=not url):
                sources.append(given["token_file"])
            see_input_is_read_once(command.__name__, sources)
            try:
                target = _target_flags(given, given_names, aimed_elsewhere=not url)
            except FlagError as error:
                fail(command.__name__, str(error))
            if target.aim.access.insecure:
                sys.stderr.write(f"hatchfarm {command.__name__}: BEWARE: {INSECURE_WARNING}\n")
            command(**arguments, target=target)

        signature = inspect.signature(command, eval_str=True)
        kind = inspect.Parameter.KEYWORD_ONLY
        taken = [one.replace(kind=kind) for name, one in signature.parameters.items() if name != "target"]
        added = [inspect.Parameter(name, kind, annotation=of, default=value) for name, (of, value) in flags.items()]
        context = inspect.Parameter("ctx", kind, annotation=typer.Context)
        aimed_command.__dict__["__signature__"] = signature.replace(parameters=[context, *taken, *added])
        aimed_command.__annotations__ = {one.name: one.annotation for one in (context, *taken, *added)}
        del aimed_command.__dict__["__wrapped__"]  # whose own flags are not all of them
        return aimed_command

    return decorate


def _source(ctx: typer.Context, name: str) -> str:
    """Return where a flag's value came from, by the name of Click's kind of source."""
    source = ctx.get_parameter_source(name)
    return "" if source is None else source.name


def _reads_token(given: dict[str, Any], given_names: set[str], *, aimed_elsewhere: bool) -> bool:
    """Return whether the token is what a file says: the environment may name one where none is wanted."""
    return (aimed_elsewhere or given["target"] is not None) and "token" not in given_names


def _target_flags(given: dict[str, Any], given_names: set[str], *, aimed_elsewhere: bool) -> TargetFlags:
    """Put the flags of a target together. `given_names` are those of the command line. Raises FlagError."""
    if not aimed_elsewhere and given["target"] is None:
        useless = sorted(given_names)
        if useless:
            flag = useless[0].replace("_", "-")
            raise FlagError(f"--{flag} is about a deployment: give --target too, or leave it out")
        return TargetFlags(None, "", Aim())
    if {"token", "token_file"} <= given_names:
        raise FlagError("--token and --token-file both say what the token is: give one of them")
    token = given["token"] or ""
    if given["token_file"] is not None and "token" not in given_names:
        token = read_token(given["token_file"])
    try:
        check_token(token)
    except TokenError as error:
        raise FlagError(str(error)) from None
    access = _access(given)
    options = list(_options(given, access))
    shared = given.get("shared_address")
    addresses = "" if shared is None else SHARED if shared else OWN
    settings = read_settings(given.get("target_setting") or [])
    strict = given.get("strict_settings", False)
    return TargetFlags(given.get("target"), token, Aim(access, addresses, settings, strict, tuple(options)))


def read_token(path: str) -> str:
    """Return the token that a file holds in one line, or standard input for `-`. Raises FlagError.

    A file that others can read is said on standard error.
    """
    try:
        if path == "-":
            raw = sys.stdin.buffer.read(TOKEN_FILE_MAX_BYTES + 1) if sys.stdin is not None else b""
        else:
            with Path(path).open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                raw = file.read(TOKEN_FILE_MAX_BYTES + 1)
            if stat.S_ISREG(mode) and mode & (stat.S_IRGRP | stat.S_IROTH):
                sys.stderr.write(f"hatchfarm: beware: --token-file {path}: others can read it: chmod 600\n")
    except OSError as error:
        raise FlagError(f"--token-file {path}: cannot be read ({error.strerror})") from None
    if len(raw) > TOKEN_FILE_MAX_BYTES:
        raise FlagError(f"--token-file {path}: larger than {TOKEN_FILE_MAX_BYTES} bytes, which is no token")
    token = raw.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
    if not token:
        raise FlagError(f"--token-file {path}: holds no token")
    return token


def _access(given: dict[str, Any]) -> Access:
    """Return how the target is reached. Raises FlagError."""
    certificate, key = given["cert"], given["key"]
    if key is not None and certificate is None:
        raise FlagError("--key is the key of a certificate: give --cert too")
    if given["insecure"] and given["cacert"] is not None:
        raise FlagError("--insecure trusts anybody, --cacert a few: give one of them")
    access = Access(
        headers=tuple(read_headers(given["header"] or [])),
        trusted="" if given["cacert"] is None else _read_authorities(given["cacert"]),
        insecure=given["insecure"],
        # As they are found from here: other processes of the run may be elsewhere.
        certificate="" if certificate is None else str(certificate.absolute()),
        key="" if key is None else str(key.absolute()),
    )
    if access.of_tls:
        try:
            access.context()
        except AccessError as error:
            raise FlagError(str(error)) from None
    return access


def _read_authorities(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(CERTIFICATES_MAX_BYTES + 1)
    except OSError as error:
        raise FlagError(f"--cacert {path}: cannot be read ({error.strerror})") from None
    if len(raw) > CERTIFICATES_MAX_BYTES or b"-----BEGIN CERTIFICATE-----" not in raw:
        raise FlagError(f"--cacert {path}: holds no certificate in PEM, or more than {CERTIFICATES_MAX_BYTES} bytes")
    return raw.decode("ascii", "replace")


def read_headers(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Read headers as they are given, one a line. Raises FlagError, which shows no value."""
    lines = [line for line in lines if line.strip()]
    if len(lines) > HEADERS_MAX or sum(map(len, lines)) > HEADERS_MAX_CHARACTERS:
        raise FlagError(f"--header: more than {HEADERS_MAX} headers or {HEADERS_MAX_CHARACTERS:,} characters")
    for number, line in enumerate(lines, 1):
        found = _HEADER.fullmatch(line.strip())
        if found is None:
            raise FlagError(f"--header: number {number} is none: write it like 'NAME: VALUE', in printable ASCII")
        if found[1].lower() in _OWN_HEADERS:
            raise FlagError(f"--header {found[1]}: requests of the contract carry it themselves: leave it out")
        yield found[1], found[2]


def read_settings(given: list[str]) -> dict[str, str]:
    """Read settings of a target as they are given. Raises FlagError."""
    from reference_server.about import setting_names, settings_problem  # noqa: PLC0415 - loads only where it is used

    known = (*JUDGED_SETTINGS, *PLAYED_SETTINGS)
    settings: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise FlagError(f"--target-setting {text}: write it like RATE_LIMIT_BURST=40")
        if name not in known:
            hint = nearest(name, known, f"those that are judged by: {', '.join(known)}")
            what = "nothing is judged by it" if name in setting_names() else "unknown server setting"
            raise FlagError(f"--target-setting {name}: {what}; {hint}")
        if settings.get(name, value) != value:
            raise FlagError(f"--target-setting {name}: given twice, as {settings[name]} and as {value}")
        settings[name] = value
    if problem := settings_problem(settings):
        raise FlagError(f"--target-setting {problem}")
    return settings


def _options(given: dict[str, Any], access: Access) -> Iterator[str]:
    """Return the flags by which a run is started again, with the values of headers hidden."""
    for name, _ in access.headers:
        yield from ("--header", f"{name}: {REDACTED}")
    for name in ("cacert", "cert", "key"):
        if given[name] is not None:
            yield from (f"--{name}", str(given[name]))
    if given["insecure"]:
        yield "--insecure"
    if given.get("shared_address") is not None:
        yield "--shared-address" if given["shared_address"] else "--own-addresses"
    for setting in given.get("target_setting") or []:
        yield from ("--target-setting", setting)
    if given.get("strict_settings"):
        yield "--strict-settings"
