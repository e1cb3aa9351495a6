"""Every kind of broken scenario file, and all that is said about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.limits import SCENARIO_MAX_BYTES

if TYPE_CHECKING:
    from pathlib import Path

TOP_KEYS = (
    "abort_on_fail, attacks, description, duration, faults, fleet, load, market, metrics_interval, name, seed, server, "
    "target, thresholds, version"
)
FLEET_KEYS = (
    "certificate_rotation, clocks, hardware, heartbeat_interval, jitter, machines, owners, processes, silence, stages"
)  # fmt: skip
ATTACKS = "`hatchfarm attack list` names them all"
NO_DURATION = "is no duration: write it like '250ms', '30s', '1m30s' or '2h'"
NO_THRESHOLD = "is no threshold: write it like 'p(99)<250ms', 'rate>0.999' or 'count==0'"
NAME = "write it in lower-case letters, digits, '.' and '-', the first a letter or digit, 64 at most"
LISTED = 'write the metric in quotes and a list of expressions, like "heartbeat.accepted" = ["rate==1"]'
UNREADABLE = "not TOML that can be read: a number is too long, or brackets are nested too deep"
ATTACK = '[[attacks]]\nname = "replay.exact"\nstart = "1s"\nduration = "1s"\nrate = 1\n'
NETWORK = '[[faults]]\nkind = "network.{}"\nat = "1s"\nduration = "1s"\n'
CLOCK = '[[faults]]\nkind = "server.clock"\nat = "1s"\nduration = "1s"\n'
FAULT = '[[faults]]\nkind = "server.kill"\nat = "1s"\n'
ABORT = '[[abort_on_fail]]\nmetric = "heartbeat.accepted"\nthreshold = "rate==1"\n'
SILENCE = '[[fleet.silence]]\nshare = 0.1\nat = "1s"\nduration = "1s"\n'
RESPONSE, ACCEPTED = 'thresholds."heartbeat.response_time"', 'thresholds."heartbeat.accepted"'


@dataclass(frozen=True)
class Broken:
    """A small right scenario with one thing changed, or other bytes altogether, and all that is said about it.

    `shape` says that the fault is one a JSON Schema can see, `more` that others come after it.
    """

    kind: str
    says: str
    replace: tuple[str, str] = ("", "")
    add: str = ""
    content: bytes | None = None
    shape: bool = False
    more: bool = False

    def write(self, path: Path, small: str) -> None:
        text = small.replace(*self.replace, 1) if self.replace[0] else small
        path.write_bytes((text + self.add).encode() if self.content is None else self.content)


def settings(line: str) -> str:
    return f"[server.settings]\n{line}\n"


def threshold(metric: str, expression: str) -> str:
    return f'[thresholds]\n"{metric}" = ["{expression}"]\n'


def command(words: str) -> str:
    return f"[server]\ncommand = {words}\n"


WORDS = 'write the program and each argument as a text of its own, like ["./farm", "--port", "{port}"]'
A_COMMANDS = "is a command's: the reference server has all it needs in [server.settings]"
BROKEN = (
    Broken("not UTF-8", "line 2: not UTF-8 text: save it as UTF-8", content=b'version = 1\nname = "\xff"\n'),
    Broken("a picture", "line 1: not UTF-8 text: save it as UTF-8", content=b"\x89PNG\r\n\x1a\n\0\0"),
    Broken("too large", f"larger than {SCENARIO_MAX_BYTES:,} bytes, which is no scenario",
           content=b"#" * (SCENARIO_MAX_BYTES + 1)),
    Broken("empty", "version: missing; every scenario needs it", content=b"", shape=True, more=True),
    Broken("an endless number", UNREADABLE, ("= 20", "= " + "9" * 5000)),
    Broken("endless nesting", UNREADABLE, add="x = " + "[" * 50_000),
    Broken("no expression", f"line 8: {ACCEPTED}: an empty list checks nothing: add an expression, or remove it",
           add='[thresholds]\n"heartbeat.accepted" = []\n'),
    # --- parts of a run, and what ends it early
    Broken("an unknown operation", 'line 8: thresholds."operation.policy-fech.rate": unknown metric; did you mean '
           "'operation.policy-fetch.rate'?", add=threshold("operation.policy-fech.rate", "median>1")),
    Broken("an unknown figure of an attack", 'line 8: thresholds."attack.replay.exact.snet": unknown metric; did you '
           "mean 'attack.replay.exact.sent'?", add=threshold("attack.replay.exact.snet", "count>1")),
    Broken("a campaign without a number", 'line 8: thresholds."campaign.zero.sent": unknown metric; did you mean '
           "'campaign.1.sent'?", add=threshold("campaign.zero.sent", "count>1")),
    Broken("an attack that is not there", 'line 8: thresholds."attack.replay.exact.sent": no [[attacks]] of the '
           "scenario is replay.exact", add=threshold("attack.replay.exact.sent", "count>1")),
    Broken("a campaign too many", 'line 8: thresholds."campaign.1.sent": the scenario has 0 [[attacks]]; campaigns '
           "count from 1", add=threshold("campaign.1.sent", "count>1")),
    Broken("a rate with a unit", "line 8: thresholds.\"heartbeat.rate\": 'median>9ms': takes no unit",
           add=threshold("heartbeat.rate", "median>9ms")),
    Broken("a rate of nothing", "line 8: thresholds.\"heartbeat.rate\": 'count>9': heartbeat.rate has p, min, max, "
           "med, median, avg, not 'count'", add=threshold("heartbeat.rate", "count>9")),
    Broken("misspelt key of what ends a run", "line 10: abort_on_fail[0].dely: unknown key; did you mean 'delay'?",
           add=ABORT + 'dely = "1s"\n', shape=True),
    Broken("nothing that ends a run", "line 7: abort_on_fail[0].threshold: missing; add it to [abort_on_fail[0]]",
           add='[[abort_on_fail]]\nmetric = "heartbeat.accepted"\n', shape=True),
    Broken("an end by what is known too late", "line 8: abort_on_fail[0].metric: alerts.errors is known at the end of "
           "a run only: put it into [thresholds], where it ends none early",
           add=ABORT.replace("heartbeat.accepted", "alerts.errors").replace("rate==1", "count==0")),
    Broken("an end by an unknown metric", "line 8: abort_on_fail[0].metric: unknown metric; did you mean "
           "'heartbeat.accepted'?", add=ABORT.replace("accepted", "acepted")),
    Broken("an end that comes whatever happens", "line 9: abort_on_fail[0].threshold: 'rate<=1' checks nothing: it "
           "holds whatever happens", add=ABORT.replace("rate==1", "rate<=1")),
    Broken("an end after the end", "line 10: abort_on_fail[0].delay: ends after the run has ended",
           add=ABORT + 'delay = "1h"\n'),
    *(
        Broken(f"a threshold that always holds: {expression}",
               f"line 8: {ACCEPTED}: '{expression}' checks nothing: it holds whatever happens",
               add=threshold("heartbeat.accepted", expression))
        for expression in ("count<1e999", "count>=0", "rate<=1", "rate<1.5", "rate!=2", "count!=1e999")
    ),
    Broken("silences over 1 together", "line 7: fleet.silence: the shares of those that are silent at one time add up "
           "to more than 1", add=SILENCE.replace("0.1", "0.7") * 2),
    # --- keys
    Broken("unknown key", f"line 1: zzz: unknown key; one of {TOP_KEYS}", ("version", "zzz = 1\nversion"), shape=True),
    Broken("misspelt key", "line 3: durration: unknown key; did you mean 'duration'?", ("duration", "durration"),
           shape=True),
    Broken("unknown key of the fleet", f"line 7: fleet.qqq: unknown key; one of {FLEET_KEYS}", add="qqq = 1",
           shape=True),
    Broken("misspelt key of the fleet", "line 6: fleet.machinez: unknown key; did you mean 'machines'?",
           ("machines", "machinez"), shape=True),
    Broken("misspelt key of the server", "line 8: server.instance: unknown key; did you mean 'instances'?",
           add="[server]\ninstance = 1\n", shape=True),
    Broken("misspelt key of a stage", "line 7: fleet.stages[0].targett: unknown key; did you mean 'target'?",
           add='stages = [{ duration = "1s", targett = 5 }]', shape=True),
    Broken("misspelt key of a clock", "line 9: fleet.clocks[0].ofset: unknown key; did you mean 'offset'?",
           add='[[fleet.clocks]]\nshare = 0.1\nofset = "1s"\n', shape=True),
    Broken("misspelt key of a step", "line 9: fleet.clocks[0].step.bye: unknown key; did you mean 'by'?",
           add='[[fleet.clocks]]\nshare = 0.1\nstep = { at = "1s", bye = "1s" }\n', shape=True),
    Broken("unknown key of a silence", "line 11: fleet.silence[0].why: unknown key; one of at, duration, share",
           add=SILENCE + "why = 1\n", shape=True),
    Broken("misspelt key of the second attack", "line 17: attacks[1].rates: unknown key; did you mean 'rate'?",
           add=ATTACK + ATTACK + "rates = 2\n", shape=True),
    # --- what is missing
    Broken("no fleet", "fleet: missing; every scenario needs it", ("[fleet]\nmachines = 20\n", ""), shape=True),
    Broken("no machines", "line 5: fleet.machines: missing; add it to [fleet]", ("machines = 20", ""), shape=True),
    Broken("no rate", "line 12: attacks[1].rate: missing; add it to [attacks[1]]",
           add=ATTACK + ATTACK.replace("rate = 1", ""), shape=True),
    # --- types
    Broken("a number for text", f"line 2: name: {NAME} (it is 5)", ('"small"', "5"), shape=True),
    Broken("text for a number", "line 6: fleet.machines: expected int, got str (it is 'many')", ("20", '"many"'),
           shape=True),
    Broken("half a machine", "line 6: fleet.machines: expected int, got float (it is 20.5)", ("20", "20.5"),
           shape=True),
    Broken("a date for a seed", "line 1: seed: expected int, got date", ("version", "seed = 2024-01-01\nversion")),
    Broken("a number for a table", "line 5: fleet: expected table, got int (it is 5)",
           ("[fleet]\nmachines = 20", "fleet = 5"), shape=True),
    Broken("a table for a list", "line 7: attacks: expected array, got table", add='[attacks]\nname = "replay.exact"\n',
           shape=True),
    Broken("no text for a threshold", f"line 8: {ACCEPTED}: {LISTED}",
           add='[thresholds]\n"heartbeat.accepted" = "rate==1"\n', shape=True),
    Broken("a metric without quotes", f'line 7: thresholds."heartbeat": {LISTED}',
           add='[thresholds]\nheartbeat.accepted = ["rate==1"]\n', shape=True),
    Broken("a number for a threshold", f"line 9: {ACCEPTED}[0]: {LISTED}",
           add='[thresholds]\n"attacks.sent" = ["count==0"]\n"heartbeat.accepted" = [1]\n', shape=True),
    Broken("a list for a setting",
           'line 9: server.settings."HOST": expected bool | int | float | str, got array',
           add=settings("RATE_LIMIT_BURST = 5\nHOST = []"), shape=True),
    # --- values
    Broken("a later format", "line 1: version: this program reads version 1 (it is 2)", ("= 1", "= 2"), shape=True),
    Broken("a truth for a number", "line 1: version: this program reads version 1 (it is True)", ("= 1", "= true"),
           shape=True),
    Broken("a name with spaces", f"line 2: name: {NAME} (it is 'My Run')", ("small", "My Run"), shape=True),
    Broken("a name that leads elsewhere", f"line 2: name: {NAME} (it is '../up')", ("small", "../up"), shape=True),
    Broken("a negative seed", "line 1: seed: expected int >= 0 (it is -1)", ("version", "seed = -1\nversion"),
           shape=True),
    Broken("a duration without a unit", "line 3: duration: a duration is text and has a unit, like '30s' (it is 10)",
           ('"10s"', "10"), shape=True),
    Broken("an unknown unit", f"line 3: duration: '10w' {NO_DURATION}", ("10s", "10w"), shape=True),
    Broken("a negative duration", f"line 3: duration: '-10s' {NO_DURATION}", ("10s", "-10s"), shape=True),
    Broken("no duration", "line 3: duration: must be longer than nothing", ("10s", "0s")),
    Broken("a month", "line 3: duration: '720h' is longer than a week", ("10s", "720h")),
    Broken("an endless duration", f"line 3: duration: '{'9' * 400}h' is longer than a week", ("10s", "9" * 400 + "h")),
    Broken("no interval", "line 7: fleet.heartbeat_interval: must be longer than nothing",
           add='heartbeat_interval = "0ms"'),
    Broken("a wrong offset", f"line 9: fleet.clocks[0].offset: '-5' {NO_DURATION} (it is '--5')",
           add='[[fleet.clocks]]\nshare = 0.1\noffset = "--5"\n', shape=True),
    Broken("no machine", "line 6: fleet.machines: expected int >= 1 (it is 0)", ("20", "0"), shape=True),
    Broken("too many machines", "line 6: fleet.machines: expected int <= 1000000 (it is 1000001)", ("20", "1000001"),
           shape=True),
    Broken("a share over 1", "line 8: fleet.silence[0].share: expected float <= 1.0 (it is 1.1)",
           add=SILENCE.replace("0.1", "1.1"), shape=True),
    Broken("a share that is no number", "line 7: fleet.jitter: expected float >= 0.0 (it is nan)", add="jitter = nan"),
    Broken("a rate of nothing", "line 11: attacks[0].rate: expected float > 0.0 (it is 0)",
           add=ATTACK.replace("rate = 1", "rate = 0"), shape=True),
    Broken("an endless rate", "line 11: attacks[0].rate: expected float <= 10000.0 (it is inf)",
           add=ATTACK.replace("rate = 1", "rate = inf")),
    # --- what makes no sense together
    Broken("more owners than machines", "line 5: fleet.owners: more owners (10) than machines (9)", ("20", "9")),
    Broken("a stage over the machines", "line 7: fleet.stages[1].target: 21 is more than fleet.machines (20)",
           add='stages = [{ duration = "1s", target = 20 },\n  { duration = "1s", target = 21 }]'),
    Broken("shares over 1 together", "line 7: fleet.clocks: the shares add up to more than 1",
           add="[[fleet.clocks]]\nshare = 0.6\n[[fleet.clocks]]\nshare = 0.6\n"),
    Broken("an attack after the end", "line 9: attacks[0].start: begins after the run has ended",
           add=ATTACK.replace('start = "1s"', 'start = "10s"')),
    Broken("an attack of no length", "line 10: attacks[0].duration: must be longer than nothing",
           add=ATTACK.replace('duration = "1s"', 'duration = "0s"')),
    Broken("a silence after the end", "line 9: fleet.silence[0].at: begins after the run has ended",
           add=SILENCE.replace('at = "1s"', 'at = "1m"')),
    Broken("a silence of no length", "line 10: fleet.silence[0].duration: must be longer than nothing",
           add=SILENCE.replace('duration = "1s"', 'duration = "0s"')),
    Broken("a step after the end", "line 9: fleet.clocks[0].step.at: happens after the run has ended",
           add='[[fleet.clocks]]\nshare = 0.1\nstep = { at = "10s", by = "1s" }\n'),
    Broken("too many attacks", "line 7: attacks: more than 200 campaigns", add=ATTACK * 201),
    # --- names of things
    Broken("unknown hardware", "line 7: fleet.hardware: unknown hardware 'laptops'; did you mean 'laptop'?",
           add='hardware = "laptops"', shape=True),
    Broken("hardware from elsewhere",
           "line 7: fleet.hardware: unknown hardware 'x'; one of gpu-server, laptop, mixed, workstation",
           add='hardware = "x"', shape=True),
    Broken("misspelt attack", "line 8: attacks[0].name: unknown attack 'replay.exakt'; did you mean 'replay.exact'?",
           add=ATTACK.replace("exact", "exakt"), shape=True),
    Broken("unknown attack", f"line 8: attacks[0].name: unknown attack 'ddos'; {ATTACKS}",
           add=ATTACK.replace("replay.exact", "ddos"), shape=True),
    Broken("misspelt metric",
           'line 8: thresholds."heartbeat.acepted": unknown metric; did you mean \'heartbeat.accepted\'?',
           add=threshold("heartbeat.acepted", "rate==1")),
    Broken("unknown metric", 'line 8: thresholds."x": unknown metric; `hatchfarm metrics` says which there are',
           add=threshold("x", "rate==1")),
    Broken("misspelt setting", "line 8: server.settings.WORKER_STALE_SECONDS: unknown server setting; "
           "did you mean 'WORKER_STATUS_STALE_SECONDS'?", add=settings("WORKER_STALE_SECONDS = 5")),
    Broken("unknown setting", "line 8: server.settings.QQQ: unknown server setting; one of AGENT_REGISTRATION, …",
           add=settings("QQQ = 5")),
    Broken("a setting's wrong value",
           "line 9: server.settings.RATE_LIMIT_BURST: '0' is not a whole number from 1 to 1000000000",
           add=settings("METRICS_PUBLIC = true\nRATE_LIMIT_BURST = 0")),
    Broken("half a pair of settings",
           "line 7: server.settings: TLS_CERT_FILE and TLS_KEY_FILE go together: set both, or neither",
           add=settings('TLS_KEY_FILE = "key.pem"')),
    Broken("a certificate beside the run's", "line 10: server.settings.TLS_CERT_FILE: with `tls = true` the run makes "
           "the certificate: remove it", more=True,
           add='[server]\ntls = true\n[server.settings]\nTLS_CERT_FILE = "chain.pem"\nTLS_KEY_FILE = "key.pem"\n'),
    Broken("a port", "line 8: server.settings.PORT: the run chooses it: remove it", add=settings("PORT = 0")),
    Broken("a token", "line 8: server.settings.HATCHFARM_API_TOKEN: the run chooses it: remove it",
           add=settings('HATCHFARM_API_TOKEN = "x"')),
    # --- threshold expressions
    Broken("half an expression", f"line 8: {ACCEPTED}: 'rate' {NO_THRESHOLD}",
           add=threshold("heartbeat.accepted", "rate")),
    Broken("the second of two expressions", f"line 8: {ACCEPTED}: 'rate=1' {NO_THRESHOLD}",
           add='[thresholds]\n"heartbeat.accepted" = ["rate==1", "rate=1"]\n'),
    Broken("a negative bound", f"line 8: {ACCEPTED}: 'rate>-1' {NO_THRESHOLD}",
           add=threshold("heartbeat.accepted", "rate>-1")),
    Broken("a bound of dots", f"line 8: {ACCEPTED}: 'rate>1.1.1': '1.1.1' is no number",
           add=threshold("heartbeat.accepted", "rate>1.1.1")),
    Broken("a wrong aggregate", f"line 8: {ACCEPTED}: 'p(99)<5ms': heartbeat.accepted has rate, count, not 'p'",
           add=threshold("heartbeat.accepted", "p(99)<5ms")),
    Broken("a time without a unit", f"line 8: {RESPONSE}: 'max<5': write a time with its unit, like '250ms'",
           add=threshold("heartbeat.response_time", "max<5")),
    Broken("a rate with a unit", f"line 8: {ACCEPTED}: 'rate==1s': takes no unit",
           add=threshold("heartbeat.accepted", "rate==1s")),
    Broken("a wrong time", f"line 8: {RESPONSE}: 'max<1e-3s': '1e-3s' {NO_DURATION}",
           add=threshold("heartbeat.response_time", "max<1e-3s")),
    Broken("an absurd time", f"line 8: {RESPONSE}: 'max<999h': '999h' is longer than a week",
           add=threshold("heartbeat.response_time", "max<999h")),
    Broken("keys nested too deep", "tables are nested more than 32 deep, which no scenario is",
           add=".".join(5000 * "a") + " = 1\n"),
    Broken("no percentile", f"line 8: {RESPONSE}: 'p<5ms': only p takes a percentile, and it needs one, like 'p(99)'",
           add=threshold("heartbeat.response_time", "p<5ms")),
    Broken("a percentile of a maximum",
           f"line 8: {RESPONSE}: 'max(5)<5ms': only p takes a percentile, and it needs one, like 'p(99)'",
           add=threshold("heartbeat.response_time", "max(5)<5ms")),
    Broken("a percentile over 100", f"line 8: {RESPONSE}: 'p(101)<5ms': a percentile is from 0 to 100",
           add=threshold("heartbeat.response_time", "p(101)<5ms")),
    # --- what this version does not do
    # --- faults
    Broken("misspelt fault", "line 8: faults[0].kind: unknown fault 'server.kil'; did you mean 'server.kill'?",
           add=FAULT.replace("server.kill", "server.kil"), shape=True),
    Broken("a fault without a moment", "line 7: faults[0].at: missing; add it to [faults[0]]",
           add='[[faults]]\nkind = "server.kill"\n', shape=True),
    Broken("a fault without a length", "line 7: faults[0].duration: server.pause needs one that is longer than nothing",
           add=FAULT.replace("kill", "pause")),
    Broken("a flush with a length", "line 10: faults[0].duration: forgetting takes no time: remove it",
           add=FAULT.replace("server.kill", "redis.flush") + 'duration = "1s"\n[server]\nredis = true\n'),
    Broken("a clock that is right", "line 7: faults[0].by: server.clock needs one, or `drift_ppm`", add=CLOCK),
    Broken("a clock that is too far off",
           "line 11: faults[0].by: is more than 60s in all: right machines would be refused",
           add=CLOCK + 'by = "-61s"\n'),
    Broken("a clock that drifts too far",
           "line 7: faults[0].by: is more than 200ms in all: what instances share has times by their clocks, which "
           "must agree", add=CLOCK + "drift_ppm = 300000.0\n[server]\nredis = true\ninstances = 2\n"),
    Broken("a clock of another fault", "line 10: faults[0].by: is for server.clock alone: remove it",
           add=FAULT + 'by = "1s"\n'),
    Broken("a server's clock and machines'",
           "line 8: faults[0].kind: of two wrong clocks nobody could tell whose a refusal is: take `clocks` out of "
           "[fleet]",
           add=CLOCK + 'by = "1s"\n[[fleet.clocks]]\nshare = 0.1\noffset = "1s"\n'),
    Broken("a window of a wrong clock",
           "line 8: faults[0].kind: skew.ahead proves nothing of a server whose clock is wrong: leave one of them out",
           add=CLOCK + 'by = "1s"\n[[attacks]]\nname = "skew.ahead"\nstart = "1s"\nduration = "1s"\nrate = 1\n'),
    Broken("a market by a wrong clock",
           "line 8: faults[0].kind: what a market lists is in the order of a clock that goes on: leave one of them out",
           add=CLOCK + 'by = "1s"\n[[attacks]]\nname = "job.foreign"\nstart = "1s"\nduration = "1s"\nrate = 1\n'),
    Broken("a restart by a wrong clock",
           "line 8: faults[0].kind: what it kept by a wrong clock it reads by a right one: leave out its kills, "
           "restarts and full disks",
           add=CLOCK + 'by = "1s"\n' + FAULT),
    Broken("a fault after the end", "line 9: faults[0].at: is not over before the run ends",
           add=FAULT.replace('"1s"', '"10s"')),
    Broken("a fault that outlasts the run", "line 9: faults[0].at: is not over before the run ends",
           add=FAULT + 'duration = "9s"\n'),
    Broken("faults that overlap", "line 13: faults[1].at: begins while another fault of server 0 lasts",
           add=FAULT + 'duration = "3s"\n' + FAULT.replace("1s", "2s")),
    Broken("faults of a Redis that is none", "line 8: faults[0].kind: the run has no Redis: write `redis = true` in "
           "[server]", add=FAULT.replace("server.kill", "redis.flush")),
    Broken("a disk that nobody writes to", "line 8: faults[0].kind: the server writes no file: write `durable = true` "
           "in [server]", add=FAULT.replace("server.kill", "disk.full") + 'duration = "1s"\n'),
    Broken("a slow network that is not slow",
           "line 7: faults[0].latency: network.latency needs one that is longer than nothing",
           add=NETWORK.format("latency")),
    Broken("a partition of a share", "line 11: faults[0].share: network.partition happens to all: remove it",
           add=NETWORK.format("partition") + "share = 0.5\n"),
    Broken("a loss of nothing", "line 11: faults[0].share: of nothing: write one above 0",
           add=NETWORK.format("loss") + "share = 0\n"),
    Broken("a loss that is late", "line 11: faults[0].latency: network.loss delays nothing by it: remove it",
           add=NETWORK.format("loss") + 'latency = "1s"\n'),
    Broken("a network that varies by more than it is slow",
           "line 12: faults[0].jitter: is more than `latency`: bytes do not come sooner than they are sent",
           add=NETWORK.format("latency") + 'latency = "800ms"\njitter = "900ms"\n'),
    Broken("a network that is too slow",
           "line 11: faults[0].latency: with `jitter` more than 2s: answers would come too late",
           add=NETWORK.format("latency") + 'latency = "3s"\n'),
    Broken("jitter of what comes at any time", "line 12: faults[0].jitter: is for network.latency alone: remove it",
           add=NETWORK.format("reordering") + 'latency = "1s"\njitter = "1s"\n'),
    Broken("copies of what nobody can read",
           "line 8: faults[0].kind: TLS hides requests from what is between: take `tls` out of [server]",
           add=NETWORK.format("duplication") + "[server]\ntls = true\n"),
    Broken("copies among those of other processes",
           "line 8: faults[0].kind: copies are told from other requests in one process alone: leave [[load]] and "
           "processes away",
           add=NETWORK.format("duplication")
           + '[[load]]\nuser = "owner-dashboard"\nstages = [{ duration = "1s", target = 1 }]\n'),
    Broken("too many faults", "line 7: faults: more than 100 faults",
           add="".join(FAULT.replace("1s", f"{80 * number}ms") for number in range(101))),
    Broken("a state file of one's own", "line 8: server.settings.HATCHFARM_STATE_FILE: the run chooses the file: "
           "write `durable = true` in [server] in its place", add=settings('HATCHFARM_STATE_FILE = "state.json"')),
    Broken("a Redis of one's own", "line 8: server.settings.REDIS_ADDR: the run starts a Redis of its own: "
           "write `redis = true` in [server] in its place", add=settings('REDIS_ADDR = "127.0.0.1:6379"')),
    # --- a command in the server's place
    Broken("a command in one text", f"line 8: server.command: {WORDS} (it is './farm --port 1')",
           add=command('"./farm --port 1"'), shape=True),
    Broken("a command without words", f"line 8: server.command: {WORDS}", add=command("[]"), shape=True),
    Broken("a command without a program", "line 8: server.command: its first word is the program to start: it is empty",
           add=command('["", "x"]')),
    Broken("a word that no program can get", "line 8: server.command: a NUL cannot be given to a program",
           add=command('["./farm", "\\u0000"]')),
    Broken("a setting that no program can get",
           "line 8: server.settings.TLS_CERT_FILE: a NUL cannot be given to a program",
           add=settings('TLS_CERT_FILE = "\\u0000"\nTLS_KEY_FILE = "x"')),
    Broken("a misspelt placeholder", "line 8: server.command: {prot} stands for PROT, which the command does not have; "
           "did you mean 'port'?", add=command('["./farm", "{prot}"]')),
    Broken("a placeholder of a setting that is not set", "line 8: server.command: {rate_limit_burst} stands for "
           "RATE_LIMIT_BURST, which the command does not have; one of hatchfarm_api_token, host, port",
           add=command('["./farm", "{rate_limit_burst}"]')),
    Broken("a placeholder of a state that is none", "line 8: server.command: {hatchfarm_state_file} stands for "
           "HATCHFARM_STATE_FILE, which the command does not have; write `durable = true` in [server]",
           add=command('["./farm", "{hatchfarm_state_file}"]')),
    Broken("a placeholder of a Redis that is none", "line 9: server.env.R: {redis_addr} stands for REDIS_ADDR, which "
           "the command does not have; write `redis = true` in [server]",
           add=command('["./farm"]') + 'env = { R = "{redis_addr}" }\n'),
    Broken("a secret on the command line", "line 8: server.command: every user of the machine can read a command line, "
           "so {hatchfarm_api_token} goes into none: the command finds HATCHFARM_API_TOKEN in its environment, or "
           "under another name by [server.env]", add=command('["./farm", "--token={hatchfarm_api_token}"]')),
    Broken("a variable that the run chooses", "line 9: server.env.PORT: the run chooses it: remove it",
           add=command('["./farm"]') + "env = { PORT = 1 }\n"),
    Broken("a variable without a name", "line 9: server.env: '' is no name of a variable",
           add=command('["./farm"]') + 'env = { "" = 1 }\n'),
    Broken("a variable in two places", "line 9: server.env.METRICS_PUBLIC: is in [server.settings], too: it can only "
           "be one of them", add=command('["./farm"]') + "env = { METRICS_PUBLIC = true }\n"
           "[server.settings]\nMETRICS_PUBLIC = true\n"),
    Broken("a list for a variable", 'line 9: server.env."FARM": expected bool | int | float | str, got array',
           add=command('["./farm"]') + "env = { FARM = [] }\n", shape=True),
    Broken("a setting of the command's own", "line 10: server.settings.FARM: unknown server setting; …",
           add=command('["./farm"]') + "[server.settings]\nFARM = 1\n"),
    Broken("a health path that is none", "line 9: server.health: write it as a path, like '/health' (it is 'ready')",
           add=command('["./farm"]') + 'health = "ready"\n', shape=True),
    Broken("a health path of no command", f"line 8: server.health: {A_COMMANDS}",
           add='[server]\nhealth = "/ready"\n'),
    Broken("variables of no command", f"line 8: server.env: {A_COMMANDS}", add="[server]\nenv = { FARM = 1 }\n"),
    Broken("load", "line 7: load[0].stages: missing; add it to [load[0]]",
           add='[[load]]\nuser = "owner-dashboard"\n', shape=True),
    Broken("two servers that share nothing", "line 8: server.instances: they share their state through Redis: "
           "write `redis = true` in [server]", add="[server]\ninstances = 2\n"),
    Broken("two servers with files", "line 10: server.durable: several instances keep their state in Redis: remove it",
           add="[server]\ninstances = 2\nredis = true\ndurable = true\n"),
    Broken("too many servers", "line 8: server.instances: expected int <= 16 (it is 17)",
           add="[server]\ninstances = 17\n", shape=True),
    Broken("a fault of a server that is none", "line 10: faults[0].instance: counted from 0, and the run has 1 server",
           add=FAULT + "instance = 1\n"),
)  # fmt: skip
