"""Schemas in strict form: what fits them fits the schema itself; what cannot be said so is not strict."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, Literal, NotRequired

import pytest
from pydantic import BaseModel, Field, TypeAdapter
from typing_extensions import TypedDict

from stepgraph.providers.backends.strict_schema import strict_schema, strict_tool
from stepgraph.providers.model import CallContext, Request
from stepgraph.providers.settings import parse_spec
from stepgraph.providers.stack.stack import member_of

from ...imitator import KEY, error
from ...imitators import OpenAI
from ...servers import Answer, ChatServer


class Kind(Enum):
    A = "a"
    B = "b"


class Inner(BaseModel):
    name: Annotated[str, Field(min_length=2, max_length=5, description="What it is called.")]
    kind: Kind = Kind.A


class Cat(BaseModel):
    sort: Literal["cat"]


class Dog(BaseModel):
    sort: Literal["dog"]


class Full(BaseModel):
    """Most of what a model may be made of."""

    inner: Inner = Field(description="The inner one.")
    many: list[Inner] = Field(default_factory=list, max_length=3)
    maybe: int | None = None
    count: Annotated[int, Field(ge=0, le=9)] = 5
    pet: Annotated[Cat | Dog, Field(discriminator="sort")]
    pair: Literal["x", "y"] = "x"
    site: Annotated[str, Field(json_schema_extra={"format": "uri"})] = "https://example.org"


class Node(BaseModel):
    name: str
    children: list[Node] = []


class Plain(TypedDict):
    name: str
    size: NotRequired[int]


@dataclass
class Data:
    name: str
    tags: list[str] = field(default_factory=list)


class WithDict(BaseModel):
    scores: dict[str, int]


class WithAny(BaseModel):
    value: Any


class WithTuple(BaseModel):
    pair: tuple[int, str]


class Open(BaseModel, extra="allow"):
    name: str


class Nothing(BaseModel):
    inner: dict[str, Any] = {}


def objects_in(schema: Any) -> list[dict[str, Any]]:
    found = []
    if isinstance(schema, dict):
        found += [schema] if schema.get("type") == "object" else []
        found += [inner for part in schema.values() for inner in objects_in(part)]
    elif isinstance(schema, list):
        found += [inner for part in schema for inner in objects_in(part)]
    return found


def schema_of(kind: Any) -> dict[str, Any]:
    return TypeAdapter(kind).json_schema()


@pytest.mark.parametrize("kind", [Full, Inner, Node, Data], ids=lambda kind: kind.__name__)
def test_the_strict_form_has_all_that_strict_decoding_wants(kind: Any) -> None:
    fit = strict_schema(schema_of(kind))
    assert fit is not None
    assert fit["type"] == "object"
    for part in objects_in(fit):
        assert part["required"] == list(part["properties"])
        assert part["additionalProperties"] is False
    text = json.dumps(fit)
    for keyword in ('"default":', '"minLength"', '"oneOf"', '"discriminator"', '"format"', '"allOf"'):
        assert keyword not in text
    for part in _parts(fit):
        assert "$ref" not in part or set(part) == {"$ref"}
    assert strict_schema(fit) == fit  # it is as strict as it gets


def _parts(schema: Any) -> list[dict[str, Any]]:
    if isinstance(schema, dict):
        return [schema, *(inner for part in schema.values() for inner in _parts(part))]
    return [inner for part in schema for inner in _parts(part)] if isinstance(schema, list) else []


def test_what_the_decoder_does_not_know_is_told_in_words() -> None:
    fit = strict_schema(schema_of(Full))
    assert fit is not None
    name = fit["$defs"]["Inner"]["properties"]["name"]
    assert name["description"] == "What it is called. (maxLength: 5, minLength: 2)"
    assert fit["properties"]["count"]["description"] == "(default: 5)"
    assert (fit["properties"]["count"]["minimum"], fit["properties"]["count"]["maximum"]) == (0, 9)
    assert fit["properties"]["inner"] == {
        "anyOf": [{"$ref": "#/$defs/Inner"}],
        "description": "The inner one.",
    }
    assert "uri" in fit["properties"]["site"]["description"]


def test_an_answer_in_strict_form_is_one_of_the_type() -> None:
    answer = {
        "inner": {"name": "abc", "kind": "b"},
        "many": [],
        "maybe": None,
        "count": 3,
        "pet": {"sort": "dog"},
        "pair": "y",
        "site": "https://a.example",
    }
    fit = strict_schema(schema_of(Full))
    assert fit is not None
    assert set(fit["properties"]) == set(answer)
    Full.model_validate(answer)


@pytest.mark.parametrize(
    "kind", [WithDict, WithAny, WithTuple, Open, Nothing, Plain, int, list[Inner], Cat | Dog], ids=str
)
def test_what_means_something_else_then_is_not_made_strict(kind: Any) -> None:
    assert strict_schema(schema_of(kind)) is None


def test_recursion_is_for_those_who_take_it() -> None:
    assert strict_schema(schema_of(Node), recursive=False) is None
    assert strict_schema(schema_of(Full), recursive=False) is not None


@pytest.mark.parametrize("reference", ["#/$defs/Gone", "#/$defs/Odd", "elsewhere.json"])
def test_a_reference_that_leads_nowhere_is_not_strict(reference: str) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": reference}},
        "required": ["a"],
        "$defs": {"Odd": 3},
    }
    assert strict_schema(schema) is None


def test_schemas_that_are_too_large_are_not_strict() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(12):
        deep = {"type": "object", "properties": {"a": deep}, "required": ["a"]}
    wide = {
        "type": "object",
        "properties": {"a": {"enum": [f"v{n}" for n in range(1001)]}},
        "required": ["a"],
    }
    assert strict_schema(deep) is None
    assert strict_schema(wide) is None


def test_a_tool_is_strict_if_its_parameters_can_be() -> None:
    free = {"name": "f", "parameters": schema_of(WithDict)}
    assert strict_tool(free) is None
    fit = strict_tool({"name": "f", "description": "d", "parameters": schema_of(Inner)})
    assert fit is not None
    assert (fit["strict"], fit["description"]) == (True, "d")
    assert strict_tool({"name": "now"}) is not None


HELLO = ({"role": "user", "content": "Say hello."},)
TOOL = {"name": "find", "description": "d", "parameters": schema_of(Inner)}
FREE = {"name": "free", "description": "d", "parameters": schema_of(WithDict)}
clients = pytest.mark.parametrize("client", ["http", "langchain"])


async def ask(server: ChatServer, request: Request, **settings: Any) -> None:
    settings = {**server.spec(), "provider": "openai", "timeout_s": 10, **settings}
    await member_of(parse_spec(settings, "here")).backend.complete(request, CallContext("here"))


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@clients
async def test_a_provider_that_has_it_is_asked_in_strict_form(client: str) -> None:
    with OpenAI() as server:
        await ask(server, Request(HELLO, schema=schema_of(Full), tools=(TOOL, FREE)), client=client)
        body = server.bodies[-1]
        assert body["response_format"]["json_schema"]["strict"] is True
        assert [tool["function"].get("strict", False) for tool in body["tools"]] == [True, False]
        assert body["tools"][1]["function"]["parameters"] == FREE["parameters"]
        await ask(server, Request(HELLO, schema=schema_of(WithDict)), client=client)
        assert "strict" not in server.bodies[-1]["response_format"]["json_schema"]
        await ask(
            server, Request(HELLO, schema=schema_of(Full)), client=client, capabilities={"strict": False}
        )
        assert "strict" not in server.bodies[-1]["response_format"]["json_schema"]


@clients
@pytest.mark.filterwarnings("ignore:Invalid schema for OpenAI's:UserWarning")  # LangChain's, before it raises
async def test_a_model_that_refuses_the_strict_form_is_asked_without(server: ChatServer, client: str) -> None:
    said = "Invalid schema for response_format 'Full': 'pattern' is not permitted."
    server.will(error(400, {"error": {"message": said, "param": "response_format"}}), Answer("{}"))
    settings = {"client": client, "model": "older"}
    await ask(server, Request(HELLO, schema=schema_of(Full)), **settings)
    forms = [body["response_format"]["json_schema"] for body in server.bodies]
    assert [form.get("strict", False) for form in forms] == [True, False]
    assert forms[1]["schema"] == schema_of(Full)
