"""The API's description is right, says all of every row, and what it shows as an example is one."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from reference_server.about import described_api
from reference_server.operations.examples import example_of
from reference_server.operations.operation import Answer
from reference_server.operations.table import OPERATIONS as EVERY_OPERATION
from reference_server.operations.table import PREFIXES
from tests.core.server_under_test import Server, owner_headers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reference_server.operations.operation import Operation

DOCUMENT = described_api()
OPERATIONS = [operation for operation in EVERY_OPERATION if not operation.for_people]


def path_of(operation: Operation) -> str:
    return operation.path if operation.rooted else PREFIXES[0] + operation.path


def shown(operation: Operation) -> dict[str, Any]:
    """Return what the document says of a row."""
    row: dict[str, Any] = DOCUMENT["paths"][path_of(operation)][operation.method.lower()]
    return row


def named(operation: Operation) -> str:
    return f"{operation.method} {path_of(operation)}"


def assert_fits(schema: dict[str, Any], value: Any) -> None:
    """Fail where a value is not what a schema of the document allows."""
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(value)


def resolved(response: dict[str, Any]) -> dict[str, Any]:
    """Return a response, wherever the document has it."""
    reference = response.get("$ref")
    return DOCUMENT["components"]["responses"][reference.rpartition("/")[2]] if reference else response


@pytest.mark.long
def test_it_is_an_openapi_document() -> None:
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


def test_pages_for_people_are_left_out_and_need_what_they_show_all_the_same() -> None:
    pages = [operation for operation in EVERY_OPERATION if operation.for_people]
    assert len(pages) == 8
    assert not {path_of(page) for page in pages} & DOCUMENT["paths"].keys()
    assert all(page.shows_state and page.summary for page in pages)


def test_it_has_every_row_and_no_other() -> None:
    described = {(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item}
    assert described == {(operation.method, path_of(operation)) for operation in OPERATIONS}
    ids = [row["operationId"] for item in DOCUMENT["paths"].values() for row in item.values()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
def test_a_row_is_shown_with_all_that_it_says(operation: Operation) -> None:
    row = shown(operation)
    assert row["summary"]
    variables = re.findall(r"\{(\w+)\}", operation.path)
    parameters = {(one["in"], one["name"]) for one in row.get("parameters", ())}
    assert parameters == {
        *(("path", name) for name in variables),
        *(("query", parameter.name) for parameter in operation.query),
        *(("header", name) for name in operation.headers),
        *(("header", one.header) for one in operation.principal.credentials if one.scheme is None),
    }
    assert ("requestBody" in row) == ((operation.described or operation.body) is not None)
    schemes = {name for way in row["security"] for name in way}
    assert schemes == {credential.name for credential in operation.principal.credentials if credential.scheme}
    for one in (*operation.answers, *operation.principal.refusals):
        response = resolved(row["responses"][str(one.status)])
        if not isinstance(one, Answer):
            (content,) = response["content"].values()
            assert msgspec.json.decode(one.body) in [example["value"] for example in content["examples"].values()]


def contents(of: Any) -> Iterator[dict[str, Any]]:
    """Yield every place in the document that has a schema and examples of it."""
    if isinstance(of, dict):
        if "examples" in of and "schema" in of:
            yield of
        for inner in of.values():
            yield from contents(inner)
    elif isinstance(of, list):
        for inner in of:
            yield from contents(inner)


def test_every_example_is_one() -> None:
    found = list(contents(DOCUMENT))
    assert len(found) > len(OPERATIONS)
    for content in found:
        for example in content["examples"].values():
            assert_fits(content["schema"], example["value"])


def test_every_field_shows_what_fits_its_own_form() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        for field in schema.get("properties", {}).values():
            for example in field.get("examples", ()):
                assert_fits(field, example)


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
def test_an_example_that_is_sent_is_answered_as_the_document_says(operation: Operation) -> None:
    row = shown(operation)
    path = operation.path
    headers, query = owner_headers("acme"), []
    for parameter in row.get("parameters", ()):
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
        elif parameter["in"] == "header" and "example" in parameter:
            headers[parameter["name"].lower()] = parameter["example"]
        elif parameter["in"] == "query":
            query.append(f"{parameter['name']}={parameter['example']}")
    body = None
    if "requestBody" in row:
        body = row["requestBody"]["content"]["application/json"]["examples"]["body"]["value"]
    prefix = "" if operation.rooted else PREFIXES[0]
    answer = Server().send(operation.method, path, body, headers, prefix=prefix, query="&".join(query))
    response = resolved(row["responses"][str(answer.status)])
    ((media_type, content),) = response["content"].items()
    assert answer.headers["content-type"].partition(";")[0] == media_type.partition(";")[0]
    if media_type == "application/json":
        assert_fits(content["schema"], answer.json)
    names = {name.lower() for name in response["headers"]}
    assert names <= answer.headers.keys()


def test_the_server_gives_the_document_itself() -> None:
    answer = Server().send("GET", "/openapi.json", prefix="")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert json.loads(answer.body) == DOCUMENT


class _Field(msgspec.Struct):
    odd: bytes


def test_a_field_without_an_example_is_a_mistake_in_its_row() -> None:
    with pytest.raises(TypeError, match="no example"):
        example_of(_Field)
