"""The API's description in OpenAPI 3.1, made from its rows: what they do not say is not in it."""

from __future__ import annotations

import re
from collections import defaultdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.limits import IDEMPOTENCY_KEY_MAX_CHARACTERS, TEXT_MAX_CHARACTERS
from reference_server.operations.examples import example_of
from reference_server.operations.fields import DIGITS
from reference_server.operations.operation import ANY, Answer
from reference_server.operations.outcomes import (
    BODY_TOO_LARGE,
    HEADERS_TOO_LARGE,
    HTTPS_REQUIRED,
    LIMITER_UNAVAILABLE,
    PERSISTENCE_FAILED,
    SHARED_STATE_UNAVAILABLE,
)
from reference_server.wire.ids import CONSENT_ID, JOB_ID, POLICY_ID, POST_ID, WITHDRAWAL_ID, WORKER_ID
from reference_server.wire.replies import INVALID_REQUEST, RATE_LIMITED, failure
from reference_server.wire.values import Reply

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from reference_server.core.calls import Parameter
    from reference_server.operations.callers import Principal
    from reference_server.operations.operation import Operation

OPENAPI = "3.1.0"
TITLE = "HatchFarm API"
OVERVIEW = """A pool of provider machines: owners register machines and bind them to signed policies by consent, each
machine proves itself every few seconds by a signed heartbeat, and AI agents rent the capacity.

Every path under `/api/v1` answers under `/v1` as well. `HEAD` answers as `GET` does, without a body, and `OPTIONS`
answers preflights. A request for no such path gets 404 `not found`, one by no such method 405 with `Allow`."""
EVERYWHERE = (
    INVALID_REQUEST,
    BODY_TOO_LARGE,
    HTTPS_REQUIRED,
    RATE_LIMITED,
    HEADERS_TOO_LARGE,
    PERSISTENCE_FAILED,
    LIMITER_UNAVAILABLE,
    SHARED_STATE_UNAVAILABLE,
)
"""What any request may meet before its operation decides, or instead."""
OBJECTS = {
    "machines": WORKER_ID,
    "workers": WORKER_ID,
    "policies": POLICY_ID,
    "consents": CONSENT_ID,
    "jobs": JOB_ID,
    "withdrawals": WITHDRAWAL_ID,
    "posts": POST_ID,
}
"""The form of `{id}`, by the part of the path before it."""
PROVIDER = {"schema": {"type": "string", "enum": ["google", "github", "apple"]}, "example": "google"}
HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-ID": {
        "description": "Made by the server for each request.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{16}$", "example": DIGITS[:16]},
    },
    "Vary": {"description": "CORS depends on the origin.", "schema": {"type": "string", "example": "Origin"}},
    "Retry-After": {
        "description": "Seconds to wait.",
        "schema": {"type": "string", "pattern": "^[0-9]+$", "example": "1"},
    },
    "Location": {"description": "Where to go.", "schema": {"type": "string", "example": "/"}},
    "Upgrade": {"description": "What is asked for.", "schema": {"type": "string", "example": "TLS/1.2, HTTP/1.1"}},
}
REQUEST_HEADERS: dict[str, dict[str, Any]] = {
    "X-Owner-ID": {
        "description": "Which owner calls, nothing for none. A session is of one already. What is not ASCII is UTF-8.",
        "schema": {"type": "string", "pattern": "^([!-{}~]([ -{}~]*[!-{}~])?)?$", "maxLength": TEXT_MAX_CHARACTERS},
        "example": "acme",
    },
    "X-Machine-Token": {
        "description": "The machine's own token.",
        "required": True,
        "schema": {"type": "string"},
        "example": DIGITS[:48],
    },
    "Idempotency-Key": {
        "description": "What is asked twice with one key happens once. A withdrawal needs one.",
        "schema": {"type": "string", "pattern": f"^[!-~]{{1,{IDEMPOTENCY_KEY_MAX_CHARACTERS}}}$"},
        "example": "withdrawal-17",
    },
    "Cookie": {
        "description": "What the login began with, so that it ends in the same browser.",
        "schema": {"type": "string"},
    },
    "X-Moltbook-Identity": {
        "description": "A token by which Moltbook vouches for the agent.",
        "schema": {"type": "string"},
    },
}
"""The headers that operations read beside those of principals."""
ON_EVERY_ANSWER = ("X-Request-ID", "Vary")
ON_STATUS = {
    HTTPStatus.FOUND: ("Location",),
    HTTPStatus.TOO_MANY_REQUESTS: ("Retry-After",),
    HTTPStatus.UPGRADE_REQUIRED: ("Upgrade",),
}
_VARIABLE = re.compile(r"\{([a-z_]+)\}")
_WORD = re.compile("[a-z0-9]+")


def describe(operations: Sequence[Operation], prefix: str, version: str) -> dict[str, Any]:
    """Return the document of those rows that are for programs; paths are under the prefix unless they are rooted."""
    operations = [operation for operation in operations if not operation.for_people]
    shown = {kind for operation in operations for kind in _types(operation)}
    kinds = sorted(shown, key=lambda kind: kind.__name__)
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    described = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for operation in operations:
        path = operation.path if operation.rooted else prefix + operation.path
        paths[path][operation.method.lower()] = _operation(operation, path, described)
    credentials = {one.name: one.scheme for row in operations for one in row.principal.credentials if one.scheme}
    common = _failures(EVERYWHERE)
    return {
        "openapi": OPENAPI,
        "info": {"title": TITLE, "version": version, "description": OVERVIEW},
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in sorted({_tag(operation) for operation in operations})],
        "paths": dict(paths),
        "components": {
            "schemas": components,
            "headers": HEADERS,
            "responses": {_name(status): response for status, response in common.items()},
            "securitySchemes": dict(sorted(credentials.items())),
        },
    }


def _types(operation: Operation) -> Iterator[Any]:
    body = operation.described or operation.body
    if body is not None:
        yield body
    for answer in operation.answers:
        if isinstance(answer, Answer) and answer.data is not None:
            yield answer.data


def _tag(operation: Operation) -> str:
    return "service" if operation.rooted else operation.path.split("/")[1]


def _operation(operation: Operation, path: str, described: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "operationId": "_".join([operation.method.lower(), *_WORD.findall(path)]),
        "tags": [_tag(operation)],
        "summary": operation.summary,
        "security": _security(operation.principal),
    }
    parameters = [*_path_parameters(path), *map(_query_parameter, operation.query)]
    named = [credential.header for credential in operation.principal.credentials if credential.scheme is None]
    parameters += [_header_parameter(name) for name in (*named, *operation.headers)]
    if parameters:
        row["parameters"] = parameters
    body = operation.described or operation.body
    if body is not None:
        content = {"schema": described[body], "examples": {"body": {"value": example_of(body)}}}
        row["requestBody"] = {"required": True, "content": {"application/json": content}}
    row["responses"] = _responses(operation, described)
    return row


def _security(principal: Principal) -> list[dict[str, list[str]]]:
    """Return what proves a caller, each way by itself; nothing for whom nobody asks."""
    if not principal.credentials:
        return []
    return [{credential.name: [] for credential in way} for way in principal.ways or (principal.credentials,)]


def _path_parameters(path: str) -> Iterator[dict[str, Any]]:
    before, *rest = _VARIABLE.split(path)
    for name, after in zip(rest[::2], rest[1::2], strict=True):
        described = PROVIDER if name == "provider" else _identified(before.rstrip("/").rpartition("/")[2])
        yield {"name": name, "in": "path", "required": True, **described}
        before = after


def _identified(objects: str) -> dict[str, Any]:
    form = OBJECTS[objects]
    schema = {"type": "string", "pattern": f"^{form.prefix}_[0-9a-f]{{{form.digits}}}$"}
    return {"schema": schema, "example": form.of(DIGITS[: form.digits])}


def _query_parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.summary,
        "allowEmptyValue": True,
        "schema": parameter.schema,
        "example": parameter.default,
    }


def _header_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "header", **REQUEST_HEADERS[name]}


def _responses(operation: Operation, described: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    refusals: list[Answer | Reply] = [
        failure(HTTPStatus.BAD_REQUEST, f"invalid {parameter.name}") for parameter in operation.query
    ]
    refusals += operation.principal.refusals
    refusals += [one for one in operation.answers if isinstance(one, Reply) or one.error]
    common, failures = _failures(EVERYWHERE), _failures((*EVERYWHERE, *refusals))
    responses = {
        str(status): {"$ref": f"#/components/responses/{_name(status)}"} if common.get(status) == response else response
        for status, response in failures.items()
    }
    for one in operation.answers:
        if isinstance(one, Answer) and not one.error:
            responses[str(one.status)] = _success(one, described)
    return dict(sorted(responses.items()))


def _name(status: int) -> str:
    return "".join(HTTPStatus(status).phrase.title().split())


def _failures(refusals: Iterable[Answer | Reply]) -> dict[int, dict[str, Any]]:
    """Return what refusals look like, by status; each of a status is one of its errors."""
    errors: dict[int, dict[str, None]] = defaultdict(dict)
    for one in refusals:
        error = msgspec.json.decode(one.body)["error"] if isinstance(one, Reply) else one.error
        errors[one.status][error] = None
    return {status: _failure(status, list(messages)) for status, messages in errors.items()}


def _described(status: int) -> dict[str, Any]:
    names = (*ON_EVERY_ANSWER, *ON_STATUS.get(HTTPStatus(status), ()))
    return {
        "description": HTTPStatus(status).phrase,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
    }


def _success(answer: Answer, described: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"type": "string"}}
    if answer.data is not None:
        schema, example = described[answer.data], example_of(answer.data)
        if not answer.bare:
            schema = {
                "type": "object",
                "properties": {"success": {"const": True}, "data": schema},
                "required": ["success", "data"],
                "additionalProperties": False,
            }
            example = {"success": True, "data": example}
        content = {"schema": schema, "examples": {"success": {"value": example}}}
    elif answer.media_type == "application/json":
        content = {"schema": {"type": "object"}}
    return {**_described(answer.status), "content": {answer.media_type: content}}


def _failure(status: int, messages: list[str]) -> dict[str, Any]:
    error: dict[str, Any] = {"type": "string"}
    if ANY not in messages:
        error["enum"] = messages
    schema = {
        "type": "object",
        "properties": {"success": {"const": False}, "error": error},
        "required": ["success", "error"],
        "additionalProperties": False,
    }
    examples = {
        "_".join(_WORD.findall(message.lower())): {"value": {"success": False, "error": message}}
        for message in messages
        if message != ANY
    }
    return {**_described(status), "content": {"application/json": {"schema": schema, "examples": examples}}}
