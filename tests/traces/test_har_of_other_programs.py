"""HARs of other programs: what is taken, what is left out, and what of them is secret."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from simulator.errors import TraceError
from simulator.traces.format import Exchange, HttpRequest, encode_line
from simulator.traces.har_import import from_har
from simulator.traces.resign import Resigner
from tests.traces.hars import REGISTERED, TOKEN, browser_har, exported, imported, posted, read, stranger, url
from tests.traces.recorded import small_recording

if TYPE_CHECKING:
    from collections.abc import Callable


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
    resigner.apply_answer(register, 201, answer.encode())
    assert isinstance(fetch.request, HttpRequest)
    # Its cookie is a secret that nobody gives out again, so only a trace with secrets can say it.
    with_secrets = imported(browser_har(), redact=False)
    resigner = Resigner(with_secrets.header, with_secrets.exchanges, "new-owner-token", "10.0.0.1:9", "77")
    resigner.apply_answer(with_secrets.exchanges[0], 201, answer.encode())
    message = resigner.rebuild(with_secrets.exchanges[1])
    assert message.startswith(b"GET /api/v1/workers/wrk_9999999999999999/policy HTTP/1.1\r\n")
    assert b"X-Machine-Token: " + b"9" * 48 in message
    assert b"Cookie: session=my-session-cookie" in message


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
