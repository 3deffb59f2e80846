"""A span in OpenTelemetry's words: every fact of a run, a node and a call has its name, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from stepgraph.tracing.record.attributes import genai_attributes, own_facts
from stepgraph.tracing.record.spans import Span, Trace
from stepgraph.tracing.record.values import changed_fields, cut_text, public

TRACE = Trace("trace", "t", 2, "app", "ada", ("a", "b"), {}, "production", "1.2", "parent")
CALL_ROW: dict[str, Any] = {
    "id": "c1",
    "step": "draft",
    "role": "writer",
    "attempt": 1,
    "status": "answered",
    "origin": None,
    "params": json.dumps({"temperature": 0.0, "max_tokens": 9, "prompt": {"name": "tea", "version": 3}}),
    "messages": json.dumps([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tea?"}]),
    "model_asked": "m",
    "model_answered": "m-1",
    "finish_reason": "length",
    "first_token_s": 0.5,
    "answer": "Yes.",
    "reasoning": None,
    "tool_calls": None,
    "input_tokens": 10,
    "output_tokens": 5,
    "cached_tokens": 4,
    "cache_write_tokens": 3,
    "reasoning_tokens": 2,
    "cost_usd": 0.25,
}
CALL = Span(TRACE, "call", "c", "n", "draft", "draft", "draft:1", "done", 1.0, 2.0, CALL_ROW)
NODE = replace(CALL, kind="node", row={"input": '{"a": 1}', "output": '{"a": 2, "b": 1}', "superstep": 0})
RUN = replace(CALL, kind="run", path="", row={"resumed": 0, "budget": '{"calls": 1}', "input": "{}"})


def call(**changes: Any) -> Span:
    return replace(CALL, row={**CALL_ROW, **changes})


def texts(attribute: Any) -> Any:
    return json.loads(str(attribute))


def test_what_every_span_says() -> None:
    for span in (CALL, NODE, RUN):
        found = genai_attributes(span)
        assert found["gen_ai.conversation.id"] == found["session.id"] == "t"
        assert (found["user.id"], found["deployment.environment.name"]) == ("ada", "production")
        assert (found["stepgraph.kind"], found["stepgraph.status"]) == (span.kind, "done")
        assert found["stepgraph.tags"] == ["a", "b"]
        assert found.get("stepgraph.path") == (span.path or None)
        assert None not in found.values()
    bare = replace(RUN, trace=replace(TRACE, user=None, tags=(), environment=None, parent_thread=None))
    missing = {"user.id", "stepgraph.tags", "deployment.environment.name", "stepgraph.forked_from"}
    assert genai_attributes(RUN).keys() - genai_attributes(bare).keys() == missing


def test_what_a_run_says() -> None:
    found = genai_attributes(RUN)
    assert (found["gen_ai.operation.name"], found["gen_ai.agent.name"]) == ("invoke_workflow", "app")
    assert found["openinference.span.kind"] == "CHAIN"
    assert (found["input.value"], "output.value" in found) == ("{}", False)
    own = {name: found[f"stepgraph.{name}"] for name in ("thread", "trace_number", "forked_from", "version")}
    assert own == {"thread": "t", "trace_number": 2, "forked_from": "parent", "version": "1.2"}
    assert (found["stepgraph.resumed"], found["stepgraph.budget"]) == (0, '{"calls": 1}')


def test_what_a_node_says() -> None:
    found = genai_attributes(NODE)
    assert (found["input.value"], found["output.value"]) == (NODE.row["input"], NODE.row["output"])
    assert found["stepgraph.changed"] == ["a", "b"]
    assert found["stepgraph.superstep"] == 0
    assert "gen_ai.operation.name" not in found
    decision = {"kind": "route", "choice": "billing", "confidence": 0.5, "reason": "why", "id": 7}
    decided = own_facts(replace(NODE, decision=decision), "x.")
    assert {name: value for name, value in decided.items() if "decision" in name} == {
        "x.decision.kind": "route",
        "x.decision.choice": "billing",
        "x.decision.confidence": 0.5,
        "x.decision.reason": "why",
    }


def test_what_a_call_says() -> None:
    found = genai_attributes(CALL)
    assert {name: value for name, value in found.items() if name.startswith(("gen_ai.re", "gen_ai.us"))} == {
        "gen_ai.request.model": "m",
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "m-1",
        "gen_ai.response.finish_reasons": ["length"],
        "gen_ai.response.time_to_first_chunk": 0.5,
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.cache_creation.input_tokens": 3,
        "gen_ai.usage.cache_write.input_tokens": 3,
        "gen_ai.usage.reasoning.output_tokens": 2,
    }
    assert found["gen_ai.output.type"] == "text"
    assert (found["stepgraph.cost_usd"], found["stepgraph.cost_known"]) == (0.25, True)
    assert (found["stepgraph.prompt.name"], found["stepgraph.prompt.version"]) == ("tea", 3)
    assert (found["stepgraph.source"], found["stepgraph.role"]) == ("model", "writer")
    assert "stepgraph.rejected" not in found
    assert texts(found["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be brief."}]
    assert texts(found["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "Tea?"}]}
    ]
    assert texts(found["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Yes."}], "finish_reason": "length"}
    ]


def test_a_call_that_was_answered_elsewhere_used_no_tokens_here() -> None:
    found = genai_attributes(replace(CALL, source="cache", row={**CALL_ROW, "origin": "c0"}))
    usage = {name: value for name, value in found.items() if name.startswith("gen_ai.usage")}
    assert usage == {"gen_ai.usage.input_tokens": 0, "gen_ai.usage.output_tokens": 0}
    assert (found["stepgraph.cost_usd"], found["stepgraph.origin"]) == (0.0, "c0")
    assert genai_attributes(replace(CALL, source="replayed"))["stepgraph.origin"] == "c1"
    assert "stepgraph.origin" not in genai_attributes(CALL)


@pytest.mark.parametrize(
    ("span", "name", "value"),
    [
        (call(params='{"schema": {"type": "object"}}'), "gen_ai.output.type", "json"),
        (call(finish_reason=None), "gen_ai.response.finish_reasons", None),
        (call(status="rejected"), "stepgraph.rejected", True),
        (call(cost_usd=None), "stepgraph.cost_known", False),
        (call(cost_usd=None), "stepgraph.cost_usd", None),
        (replace(call(cost_usd=None, status="failed"), status="failed"), "stepgraph.cost_known", True),
        (replace(CALL, status="failed"), "gen_ai.output.messages", None),
        (call(messages='[{"content": "x"}]'), "gen_ai.system_instructions", None),
        (call(problem="no JSON"), "stepgraph.problem", "no JSON"),
    ],
)
def test_what_a_call_says_otherwise(span: Span, name: str, value: Any) -> None:
    assert genai_attributes(span).get(name) == value


def test_thoughts_come_before_the_answer_and_tool_calls_after_it() -> None:
    tools = json.dumps([{"id": "1", "name": "look", "arguments": {"a": 1}, "extra": 2}])
    found = genai_attributes(call(reasoning="Hm.", tool_calls=tools, answer=None, finish_reason=None))
    (answered,) = texts(found["gen_ai.output.messages"])
    assert answered["finish_reason"] == "stop"
    assert answered["parts"] == [
        {"type": "reasoning", "content": "Hm."},
        {"type": "text", "content": ""},
        {"type": "tool_call", "id": "1", "name": "look", "arguments": {"a": 1}},
    ]


def test_messages_of_parts_keep_what_is_no_text() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:"}}
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"content": [{"type": "text", "text": "What is it?"}, image, "word"]},
        {"role": "assistant", "content": None},
    ]
    found = genai_attributes(call(messages=json.dumps(messages)))
    assert texts(found["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be brief."}]
    assert texts(found["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "What is it?"}, image, "word"]},
        {"role": "assistant", "parts": [{"type": "text", "content": ""}]},
    ]


CUT = {"cut": 7, "start": '"abc'}


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2, "b": None}, ["a"]),
        ({}, {"a": 1, "stepgraph_x": 2}, ["a"]),
        (None, {"a": 1}, ["a"]),
        ({"a": 1}, None, None),
        ({"a": 1}, [1], None),
        ({"a": 1}, {"cut": 9, "start": '{"a'}, None),
        ({"cut": 9, "start": '{"a'}, {"a": 1}, None),
        ({"a": CUT}, {"a": CUT}, []),
        ({"a": CUT}, {"a": "abcde"}, []),
        ({"a": CUT}, {"a": "abcdef"}, ["a"]),
        ({"a": CUT}, {"a": "axcde"}, ["a"]),
        ({"a": "abcde"}, {"a": CUT}, ["a"]),
    ],
)
def test_which_fields_a_node_changed(before: Any, after: Any, changed: list[str] | None) -> None:
    assert changed_fields({"input": json.dumps(before), "output": json.dumps(after)}) == changed


def test_a_record_that_is_no_json_changed_nobody_knows_what() -> None:
    assert changed_fields({"input": "{", "output": "{}"}) is None
    assert changed_fields({}) is None


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (CUT, ('"abc', 7)),
        ({"cut": 7}, None),
        ({"cut": 7, "start": 1}, None),
        ({"cut": 7, "start": "", "more": 1}, None),
        ("cut", None),
        (None, None),
    ],
)
def test_what_was_cut(value: Any, found: Any) -> None:
    assert cut_text(value) == found


def test_what_patterns_keep_for_themselves_is_not_public() -> None:
    assert public('{"a": 1, "stepgraph_rounds": 2}') == {"a": 1}
    assert [public(text) for text in (None, "", "[1]", '"a"')] == [None, None, [1], "a"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("openai", "openai"),
        ("azure_openai", "azure.ai.openai"),
        ("google_genai", "gcp.gemini"),
        ("mistralai", "mistral_ai"),
        ("together", "together"),
        (None, "_OTHER"),
    ],
)
def test_the_provider_has_the_name_that_the_conventions_give_it(given: str | None, told: str) -> None:
    found = genai_attributes(call(params=json.dumps({"provider": given})))
    assert found["gen_ai.provider.name"] == told
