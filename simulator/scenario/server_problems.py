"""What is wrong with a scenario's `[server]`: its settings, and the command in the server's place. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from simulator.platform.secret_names import SECRET_NAME
from simulator.platform.wording import nearest
from simulator.scenario.placeholders import variables_in
from simulator.scenario.values import HEALTH, as_environ

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from simulator.scenario.places import Part
    from simulator.scenario.values import ServerOptions

CHOSEN_BY_THE_RUN = {
    "HATCHFARM_API_TOKEN": "the run chooses it: remove it",
    "HOST": "the run chooses it: remove it",
    "PORT": "the run chooses it: remove it",
    "HATCHFARM_STATE_FILE": "the run chooses the file: write `durable = true` in [server] in its place",
    "REDIS_ADDR": "the run starts a Redis of its own: write `redis = true` in [server] in its place",
}
NUL = "a NUL cannot be given to a program"
_ALWAYS_THERE = frozenset({"HOST", "PORT", "HATCHFARM_API_TOKEN"})
_CHOSEN_WITH_TLS = ("TLS_CERT_FILE", "TLS_KEY_FILE")
_CHOSEN_WITH_INSTANCES = ("HATCHFARM_SHARED_STATE", "MACHINE_CERT_SIGNING_KEY_FILE")


class ServerSettings(msgspec.Struct, frozen=True):
    """What the server knows of its settings: all names, and what is wrong with an environment that holds some."""

    names: Collection[str]
    problem: Callable[[Mapping[str, str]], str]


def problems_to_show(
    server: ServerOptions, known: ServerSettings | None, hidden: Mapping[tuple[Part, ...], str]
) -> Iterator[tuple[str, str]]:
    """Find what makes no sense in `[server]`, as it may be shown: without what the `hidden` variables hold.

    They are of settings and of `env`, by their places. What is said of such a place is what would be said of another
    text there; where nothing would be, only that the value does not fit.
    """
    found = [*_server_problems(server, known)]
    places = {f"server.{parts[1]}.{parts[2]}": name for parts, name in hidden.items()}
    if not found or not places:
        yield from found
        return
    instead = dict(_server_problems(_without_values(server, hidden), known))
    for place, what in found:
        if place in places:
            yield place, instead.get(place, f"what {places[place]} holds does not fit here")
        else:
            yield place, what


def _without_values(server: ServerOptions, hidden: Mapping[tuple[Part, ...], str]) -> ServerOptions:
    """Return what the server is given, with the name of the variable in place of each hidden value."""
    tables = {"settings": {**server.settings}, "env": {**server.env}}
    for (_, table, key, *_), name in hidden.items():
        tables[str(table)][str(key)] = f"${{{name}}}"
    return msgspec.structs.replace(server, **tables)


def _server_problems(server: ServerOptions, known: ServerSettings | None) -> Iterator[tuple[str, str]]:
    """Find what is well-formed in `[server]` but makes no sense: each place, and what is wrong there."""
    if server.instances > 1:
        if not server.redis:
            yield "server.instances", "they share their state through Redis: write `redis = true` in [server]"
        if server.durable:
            yield "server.durable", "several instances keep their state in Redis: remove it"
    for name in _CHOSEN_WITH_TLS if server.tls else ():
        if name in server.settings:
            yield f"server.settings.{name}", "with `tls = true` the run makes the certificate: remove it"
    yield from _settings_problems(server, known)
    yield from _command_problems(server) if server.command else _problems_without_command(server)


def _settings_problems(server: ServerOptions, known: ServerSettings | None) -> Iterator[tuple[str, str]]:
    """Find server settings that the server does not know, does not take, or would not get."""
    settings = server.environ()
    strange = [name for name in settings if known is not None and name not in known.names]
    for name, value in settings.items():
        if "\0" in value:
            yield f"server.settings.{name}", NUL
    for name, problem in CHOSEN_BY_THE_RUN.items():
        if name in settings:
            yield f"server.settings.{name}", problem
    more = "; what only the command knows goes into [server.env]" if server.command else ""
    for name in strange:
        what = f"unknown server setting; {nearest(name, known.names if known else ())}{more}"
        yield f"server.settings.{name}", what
    given = {name: value for name, value in settings.items() if name not in CHOSEN_BY_THE_RUN}
    if known is not None and not strange and (problem := known.problem(given)):
        name, _, what = problem.partition(": ")
        yield (f"server.settings.{name}", what) if name in settings else ("server.settings", problem)


def _problems_without_command(server: ServerOptions) -> Iterator[tuple[str, str]]:
    why = "is a command's: the reference server has all it needs in [server.settings]"
    if server.env:
        yield "server.env", why
    if server.health != HEALTH:
        yield "server.health", why


def _command_problems(server: ServerOptions) -> Iterator[tuple[str, str]]:
    if not server.command[0]:
        yield "server.command", "its first word is the program to start: it is empty"
    env = as_environ(server.env)
    for name, value in env.items():
        place = f"server.env.{name}"
        if not name or "=" in name or "\0" in name:
            yield "server.env", f"{name!r} is no name of a variable"
        if name in server.settings:
            yield place, "is in [server.settings], too: it can only be one of them"
        elif name in _chosen(server) or name in CHOSEN_BY_THE_RUN:
            yield place, CHOSEN_BY_THE_RUN.get(name, "the run chooses it: remove it")
        yield from ((place, problem) for problem in _text_problems(value, server))
    for word in server.command:
        yield from (("server.command", problem) for problem in _text_problems(word, server))
        for name in variables_in(word):
            if SECRET_NAME.search(name):
                yield (
                    "server.command",
                    (
                        f"every user of the machine can read a command line, so {{{name.lower()}}} goes into none: the"
                        f" command finds {name} in its environment, or under another name by [server.env]"
                    ),
                )


def _text_problems(text: str, server: ServerOptions) -> Iterator[str]:
    """Find what cannot be given to a program, and placeholders of what it will not have."""
    if "\0" in text:
        yield NUL
    there = {*_ALWAYS_THERE, *server.settings, *_chosen(server)}
    for name in variables_in(text):
        if name not in there:
            way_out = {
                "HATCHFARM_STATE_FILE": "write `durable = true` in [server]",
                "REDIS_ADDR": "write `redis = true` in [server]",
                **dict.fromkeys(_CHOSEN_WITH_TLS, "write `tls = true` in [server]"),
            }.get(name) or nearest(name.lower(), map(str.lower, there))
            yield f"{{{name.lower()}}} stands for {name}, which the command does not have; {way_out}"


def _chosen(server: ServerOptions) -> frozenset[str]:
    """Return the variables that the run chooses by what else `[server]` says."""
    chosen = set(_ALWAYS_THERE)
    if server.redis:
        chosen.add("REDIS_ADDR")
    if server.durable:
        chosen.add("HATCHFARM_STATE_FILE")
    chosen.update(_CHOSEN_WITH_TLS if server.tls else ())
    chosen.update(_CHOSEN_WITH_INSTANCES if server.instances > 1 else ())
    return frozenset(chosen)
