"""HAR out of a trace and back, read by a third party's reader; and HARs of other programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from haralyzer import HarParser
from hypothesis import given
from hypothesis import strategies as st

from simulator.history import Answer
from simulator.traces.errors import TraceError
from simulator.traces.format import Exchange, Header, HttpRequest, Trace, encode_line
from simulator.traces.har_export import to_har
from simulator.traces.har_import import Choice, Imported, from_har
from simulator.traces.resign import Resigner
from tests.traces.recorded import OWNER_TOKEN, Recording, digits, nearest, small_recording

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN = digits("token", 48)
NEAR = 4


def exported(recording: Recording, *, redact: bool = True) -> dict[str, Any]:
    har: dict[str, Any] = json.loads(msgspec.json.encode(to_har(recording.trace(redact=redact), "1.2.3")))
    return har


def imported(har: Any, *, redact: bool = True) -> Trace:
    header, *exchanges = from_har(json.dumps(har).encode(), "browser", redact=redact).lines
    assert isinstance(header, Header)
    return Trace(header, tuple(one for one in exchanges if isinstance(one, Exchange)))


@pytest.fixture
def recording() -> Recording:
    recording = small_recording()
    recording.take(
        b"GET /x?a=1&b=%20 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"HTTP/1.1 302 X\r\nLocation: /y\r\n\r\n\xff",
        got=Answer.ACCEPTED,
    )
    recording.take(b"GET /lost HTTP/1.1\r\nHost: ${x}\r\n\r\n", None, got=Answer.LOST)
    recording.take(b"no HTTP \xff", b"HTTP/1.1 400 X\r\n\r\n", got=Answer.REFUSED)
    return recording


@pytest.mark.parametrize("redact", [True, False])
def test_an_exported_trace_comes_back_whole(recording: Recording, *, redact: bool) -> None:
    assert imported(exported(recording, redact=redact)) == recording.trace(redact=redact)


def test_a_third_partys_reader_reads_what_is_exported(recording: Recording) -> None:
    parser = HarParser(exported(recording))
    entries = parser.pages[0].entries
    assert len(entries) == 13
    assert [entry.status for entry in entries] == [201, 200, *[201] * 4, 200, 200, 401, 401, 401, 302, 0]
    policy = entries[0]
    assert (policy.request.method, policy.url) == ("POST", "http://127.0.0.1:8080/api/v1/policies")
    assert policy.request.get_header_value("X-Owner-ID") == "ada"
    assert json.loads(policy.request.text)["owner_id"] == "ada"
    assert policy.request.mimeType == "application/json"
    assert policy.request.get_header_value("Content-Length") == str(len(policy.request.text))
    assert policy.startTime.isoformat() == "2026-09-21T14:13:19.923000+00:00"
    assert policy.time == 10
    assert entries[11].request.queryString == [{"name": "a", "value": "1"}, {"name": "b", "value": " "}]
    assert json.loads(entries[2].response.text)["data"]["machine"]["owner_id"] == "ada"


def test_no_secret_and_no_near_miss_is_in_a_redacted_har(recording: Recording) -> None:
    text = json.dumps(exported(recording))
    for secret in (OWNER_TOKEN, recording.token(0), recording.token(1)):
        assert nearest(text, secret) > NEAR


def test_entries_may_be_taken_out_of_an_exported_har(recording: Recording) -> None:
    har = exported(recording)
    del har["log"]["entries"][8:]
    trace = imported(har)
    assert [one.sequence for one in trace.exchanges] == list(range(1, 10))
    assert trace.header.exchanges == 9


# --- other programs'


def entry(
    method: str,
    path: str,
    status: int,
    *,
    headers: dict[str, str] | None = None,
    sent: Any = None,
    got: Any = None,
    at: int = 0,
) -> dict[str, Any]:
    """Write an entry as a browser does, with the headers that its own connection had."""
    made: dict[str, Any] = {
        "startedDateTime": f"2026-01-01T10:00:0{at}.250+01:00",
        "time": 12.5,
        "request": {
            "method": method,
            "url": f"http://farm.example:8080{path}",
            "httpVersion": "h2",
            "headers": [
                {"name": ":authority", "value": "farm.example:8080"},
                {"name": "Connection", "value": "keep-alive"},
                {"name": "content-length", "value": "999"},
                *({"name": name, "value": value} for name, value in (headers or {}).items()),
            ],
            "cookies": [],
            "queryString": [],
            "headersSize": -1,
            "bodySize": -1,
        },
        "response": {
            "status": status,
            "statusText": "",
            "headers": [{"name": "content-type", "value": "application/json"}],
            "content": {"size": 1, "mimeType": "application/json", "text": json.dumps(got)},
        },
    }
    if sent is not None:
        made["request"]["postData"] = {"mimeType": "application/json", "text": json.dumps(sent)}
    return made


BEARER = {"Authorization": "Bearer the-owners-own-token"}
REGISTERED = {
    "data": {
        "machine": {"id": "wrk_0123456789abcdef", "owner_id": "eve"},
        "machine_token": TOKEN,
        "machine_certificate": {"certificate_id": "mcert_0123456789abcdef0123"},
    }
}


def browser_har() -> dict[str, Any]:
    used = {"X-Machine-Token": TOKEN, "Cookie": "session=my-session-cookie"}
    entries = [
        entry("GET", "/api/v1/workers/wrk_0123456789abcdef/policy", 403, headers=used, got={"error": "no"}, at=2),
        entry(
            "POST", "/v1/machines/register", 201, headers=BEARER, sent={"owner_id": "eve", "name": "m"}, got=REGISTERED
        ),
        entry("GET", "/favicon.ico", 0, at=3),
    ]
    return {"log": {"version": "1.2", "creator": {"name": "browser", "version": "1"}, "entries": entries}}


def test_a_browsers_har_becomes_a_trace_in_the_order_of_sending_that_expects_what_it_got() -> None:
    trace = imported(browser_har())
    assert [(one.operation, one.expected, one.got) for one in trace.exchanges] == [
        ("register", "accepted", "accepted"),
        ("policy_fetch", "refused", "refused"),
        ("other", "lost", "lost"),
    ]
    assert [one.sent_ns for one in trace.exchanges] == [0, 2 * 10**9, 3 * 10**9]
    assert (trace.header.scenario, trace.header.authority) == ("browser", "farm.example:8080")
    assert trace.header.started_at == "2026-01-01T09:00:00.25Z"


def test_the_secrets_that_a_har_shows_are_found_and_hidden() -> None:
    text = b"".join(
        msgspec.json.encode(line) for line in from_har(json.dumps(browser_har()).encode(), "x", redact=True).lines
    ).decode()
    assert [secret in text for secret in ("the-owners-own-token", TOKEN, "my-session-cookie")] == [False] * 3
    assert "Bearer ${owner.token}" in text
    assert "${machine.0.token}" in text


def test_an_imported_har_is_re_signed_for_another_server() -> None:
    trace = imported(browser_har())
    resigner = Resigner(trace.header, trace.exchanges, "new-owner-token", "10.0.0.1:9", "77")
    register, fetch = trace.exchanges[:2]
    message = resigner.rebuild(register)
    assert b"Authorization: Bearer new-owner-token\r\n" in message
    assert b"Host: 10.0.0.1:9\r\n" in message
    assert b'"owner_id": "eve.77"' in message
    answer = json.dumps(REGISTERED).replace(TOKEN, "9" * 48).replace("wrk_0123456789abcdef", "wrk_9999999999999999")
    resigner.learn(register, 201, answer.encode())
    assert isinstance(fetch.request, HttpRequest)
    # Its cookie is a secret that nobody gives out again, so only a trace with secrets can say it.
    with_secrets = imported(browser_har(), redact=False)
    resigner = Resigner(with_secrets.header, with_secrets.exchanges, "new-owner-token", "10.0.0.1:9", "77")
    resigner.learn(with_secrets.exchanges[0], 201, answer.encode())
    message = resigner.rebuild(with_secrets.exchanges[1])
    assert message.startswith(b"GET /api/v1/workers/wrk_9999999999999999/policy HTTP/1.1\r\n")
    assert b"X-Machine-Token: " + b"9" * 48 in message
    assert b"Cookie: session=my-session-cookie" in message


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    har = browser_har()
    change(har)
    return har


BROKEN: dict[str, tuple[Any, str]] = {
    "a list": ([], 'no HAR: it has no "log" with "entries"'),
    "no entries": ({"log": {}}, 'no HAR: it has no "log" with "entries"'),
    "entries that are none": ({"log": {"entries": 5}}, 'no HAR: "log.entries" is no list'),
    "empty": ({"log": {"entries": []}}, "a HAR without entries"),
    "a foreign header": ({"log": {"entries": [], "_hatchfarm": {"header": {}}}}, "log._hatchfarm: "),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_har_is_refused_with_the_entry_and_what_is_wrong(name: str) -> None:
    har, message = BROKEN[name]
    with pytest.raises(TraceError) as refused:
        imported(har)
    assert str(refused.value).startswith(message)


def test_what_is_no_json_is_said_to_be_none() -> None:
    with pytest.raises(TraceError, match="not JSON"):
        from_har(b"<html>", "x", redact=True)


def stranger(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Give a HAR of four entries of which the last is bent by `change`."""
    har = browser_har()
    har["log"]["entries"].append(entry("POST", "/v1/consents", 201, headers=BEARER, sent={"owner_id": "eve"}, at=4))
    change(har["log"]["entries"][3])
    return har


def read(har: dict[str, Any], **choice: Any) -> Imported:
    return from_har(json.dumps(har).encode(), "browser", redact=True, choice=Choice(**choice))


def url(text: str) -> Callable[[dict[str, Any]], object]:
    return lambda one: one["request"].update(url=text)


def posted(**data: Any) -> Callable[[dict[str, Any]], object]:
    return lambda one: one["request"].update(postData=data)


LEFT_OUT: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "another server": (url("http://cdn.example/x.js"), "of another server"),
    "another port": (url("http://farm.example/x"), "of another server"),
    "an embedded picture": (url("data:image/png;base64,AAAA"), "no request to a server (data: URL)"),
    "an extension": (url("chrome-extension://abc/x.js"), "no request to a server (chrome-extension: URL)"),
    "no address": (url("about:blank"), "no request to a server (about: URL)"),
    "a websocket": (url("ws://farm.example:8080/socket"), "a websocket"),
    "a switch of protocols": (lambda one: one["response"].update(status=101), "a websocket"),
    "no host": (url("http:///x"), "a URL without a host that can be asked"),
    "port 0": (url("http://farm.example:0/x"), "a URL without a host that can be asked"),
    "a broken port": (url("http://farm.example:99999/x"), "a broken URL"),
    "no request": (lambda one: one.pop("request"), "no 'request'"),
    "a null request": (lambda one: one.update(request=None), "not as HAR 1.2 has it"),
    "no time": (
        lambda one: one.update(startedDateTime="today"), "a startedDateTime that is no RFC 3339 timestamp"),
    "no method": (lambda one: one["request"].update(method="<>"), "no HTTP method"),
    "a smuggled header": (
        lambda one: one["request"]["headers"].append({"name": "a", "value": "b\r\nc: d"}),
        "a line break in a header or path",
    ),
    "a body of wrong base64": (posted(text="!!!", encoding="base64"), "a request body of wrong base64"),
    "a form with a file": (
        posted(mimeType="multipart/form-data; boundary=x", params=[{"name": "a", "value": "b"}]),
        "a multipart body of which only `params` are given",
    ),
    "JSON of names and values": (
        posted(mimeType="application/json", params=[{"name": "a", "value": "b"}]),
        "a JSON body of which only `params` are given",
    ),
    "XML of names and values": (
        posted(mimeType="text/xml", params=[{"name": "a", "value": "b"}]),
        "an XML body of which only `params` are given",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT_OUT)
def test_an_entry_that_is_no_request_to_the_server_is_left_out_and_counted(name: str) -> None:
    change, reason = LEFT_OUT[name]
    done = read(stranger(change))
    assert (dict(done.left_out), done.taken, done.server) == ({reason: 1}, 3, "farm.example:8080")
    assert len(list(done.lines)) == 1 + 3


def _last(har: dict[str, Any]) -> Exchange:
    return imported(har).exchanges[-1]


@pytest.mark.parametrize("status", [-1, 0, None, 1000, 199, 99, True, "", "abc", 200.5, [200]])
def test_an_answer_without_a_status_of_one_is_lost_and_never_accepted(status: Any) -> None:
    har = stranger(lambda one: one["response"].update(status=status))
    one = _last(har)
    assert (one.got, one.answered_ns, one.response) == ("lost", None, None)
    assert read(har).bent == {"an answer without a status of one: taken for lost": 2}  # the favicon's is 0


@pytest.mark.parametrize("status", [0, 429, 500, 503])
def test_an_answer_that_says_nothing_of_the_request_leaves_open_what_is_right(status: int) -> None:
    assert _last(stranger(lambda one: one["response"].update(status=status))).expected == "lost"


@pytest.mark.parametrize("change", [lambda one: one.pop("response"), lambda one: one.update(response=None)])
def test_a_missing_response_is_a_lost_answer(change: Callable[[dict[str, Any]], object]) -> None:
    assert _last(stranger(change)).got == "lost"


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T10:00:04.25+0100", "2026-01-01T10:00:04.250+01", "2026-01-01t09:00:04.250z",
        "2026-01-01 09:00:04,250", "2026-01-01T09:00:04.250",
    ],
)  # fmt: skip
def test_times_are_read_without_colon_and_without_zone(text: str) -> None:
    har = stranger(lambda one: one.update(startedDateTime=text))
    assert _last(har).at == "2026-01-01T09:00:04.25Z"
    without_zone = not (text[-1] in "zZ" or "+" in text)
    assert ("a time without a zone: taken for UTC" in read(har).bent) == without_zone


def test_what_can_be_built_is_built_and_what_was_bent_is_said() -> None:
    one = _last(stranger(posted(mimeType="x", params=[{"name": "owner_id", "value": "a b"}, {"name": "c"}])))
    assert isinstance(one.request, HttpRequest)
    assert one.request.body == "owner_id=a+b&c="
    assert ("Content-Type", "application/x-www-form-urlencoded") in one.request.headers
    one = _last(stranger(posted(text="eyJhIjoxfQ==", encoding="base64")))
    assert isinstance(one.request, HttpRequest)
    assert one.request.body == '{"a":1}'
    har = stranger(lambda one: one["response"].update(headers=None, content={"text": "!!!", "encoding": "base64"}))
    assert read(har).bent["an answer's body of wrong base64: kept without it"] == 1
    response = _last(har).response
    assert response is not None
    assert (response.status, response.headers, response.body) == (201, (), "")


def test_loopbacks_names_and_a_schemes_own_port_are_one_server() -> None:
    har = browser_har()
    for one, address in zip(
        har["log"]["entries"], ("http://127.0.0.1/a", "http://localhost:80/b", "http://[::1]/c"), strict=True
    ):
        one["request"]["url"] = address
    trace = imported(har)
    requests = [one.request for one in trace.exchanges if isinstance(one.request, HttpRequest)]
    hosts = {value for request in requests for name, value in request.headers if name == "Host"}
    assert (len(requests), hosts) == (3, {trace.header.authority})


def test_entries_are_chosen_by_host_and_by_path() -> None:
    har = stranger(url("http://cdn.example/x.js"))
    assert read(har, host="cdn.example").server == "cdn.example"
    assert read(har, host="CDN.example:80").taken == 1
    assert read(har, include=("/v1/*", "*.ico")).left_out == {"not like --include": 1, "of another server": 1}
    assert read(har, exclude=("*/policy", "/fav*")).left_out == {"like --exclude": 2, "of another server": 1}
    with pytest.raises(TraceError, match=r"nothing to import of 4 entries: 4 of another server"):
        read(har, host="nobody.example")
    with pytest.raises(TraceError, match="this program wrote it"):
        read(exported(small_recording()), include=("/",))


SECRETS = {
    "a URL's password": (url("http://user:SECRETONE@farm.example:8080/health"), "SECRETONE"),
    "an encoded one": (url("http://user:SECRET%21ONE@farm.example:8080/health?x=SECRET!ONE"), "SECRET!ONE"),
    "a query's token": (url("http://farm.example:8080/x?a=b&access_token=SECRETONE"), "SECRETONE"),
    "a form's password": (posted(mimeType="x", params=[{"name": "password", "value": "SECRETONE"}]), "SECRETONE"),
    "a login's password": (posted(text='{"user": "eve", "Password" : "SECRETONE"}'), "SECRETONE"),
    "an answer's password": (
        lambda one: one["response"].update(content={"text": '{"password":"SECRETONE"}'}),
        "SECRETONE",
    ),
    **{
        f"the header {name}": (
            lambda one, name=name: one["request"]["headers"].append({"name": name, "value": "SECRETONE"}),  # type: ignore[misc]
            "SECRETONE",
        )
        for name in ("X-Api-Key", "api-key", "X-Auth-Token", "X-CSRF-Token", "X-Vault-Token", "Private-Token", "x-jwt")
    },
    "an answer's header": (
        lambda one: one["response"]["headers"].append({"name": "X-Session-Token", "value": "SECRETONE"}),
        "SECRETONE",
    ),
    "a cookie": (
        lambda one: one["request"]["headers"].append({"name": "cookie", "value": "a=b; sid=SECRETONE"}),
        "SECRETONE",
    ),
}


@pytest.mark.parametrize("name", SECRETS)
def test_what_programs_carry_keys_in_is_hidden_wherever_it_stands(name: str) -> None:
    change, secret = SECRETS[name]
    har = stranger(change)
    har["log"]["entries"][2]["response"] |= {"status": 200, "content": {"text": f"you are {secret}"}}
    text = b"".join(map(encode_line, read(har).lines)).decode()
    assert secret not in text
    assert "SECRET%21ONE" not in text
    assert "you are ${secret." in text


SIMPLE = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
VALUES = st.recursive(
    SIMPLE, lambda one: st.lists(one, max_size=2) | st.dictionaries(st.text(max_size=4), one, max_size=2)
)
KEYS = ("log", "entries", 0, 1, "request", "response", "headers", "content", "url", "_hatchfarm", "postData", "time")
PLACES = st.lists(st.sampled_from(KEYS), max_size=6)


@given(PLACES, VALUES, st.booleans())
def test_any_value_anywhere_is_imported_or_refused(places: list[str | int], value: Any, own: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
    har: Any = exported(small_recording()) if own else browser_har()
    inner = har
    for place in places[:-1]:
        try:
            inner = inner[place]
        except (KeyError, TypeError, IndexError):
            break
    try:
        inner[places[-1]] = value
    except (IndexError, TypeError):
        return
    try:
        imported(har)
    except TraceError:
        return
