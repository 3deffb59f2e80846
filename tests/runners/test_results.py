"""What runs and streams give back: the state's own type, whatever the state is and however it ended."""

import pickle
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from stepgraph import (
    Ask,
    Budget,
    RunResult,
    ScriptedModel,
    Session,
    arun,
    astream_run,
    chain,
    resume,
    run,
    section,
    step,
    stream_run,
    using,
    vote,
)
from stepgraph.providers.model import CallContext, Reply, Request
from stepgraph.state.errors import InputError


@dataclass
class AsDataclass:
    topic: str = "tea"
    draft: str = ""
    end: str = ""


class AsTypedDict(TypedDict, total=False):
    topic: str
    draft: str
    end: str


class AsModel(BaseModel):
    topic: str = "tea"
    draft: str = ""
    end: str = ""


STATES = [AsDataclass, AsTypedDict, AsModel]
MODEL = ScriptedModel(lambda request, context: f"a {context.step}")


def graphs_over(state: Any) -> dict[str, Any]:
    @step("draft")
    def write(given: state) -> Ask[str]:
        return Ask("write")

    @step("end")
    def end(given: state) -> Ask[str]:
        return Ask("end")

    def approve(given: state) -> dict[str, Any]:
        return {"end": interrupt("good?")}

    builder = StateGraph(state)
    builder.add_node("write", write)
    builder.add_edge(START, "write")
    builder.add_edge("write", END)
    return {
        "chain": chain(write, end),
        "nested": chain(section({"draft": chain(write)}), chain(chain(end))),
        "vote": chain(vote(write, 3, field="draft", uncertain=""), end),
        "asks": chain(write, chain(approve)),
        "by hand": builder,
    }


def content(value: Any, name: str) -> Any:
    return value[name] if isinstance(value, dict) else getattr(value, name)


def is_of(value: Any, state: Any) -> bool:
    return isinstance(value, dict) if state is AsTypedDict else type(value) is state


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("shape", ["chain", "nested", "vote", "by hand"])
def test_the_value_is_of_the_states_own_type(state: Any, shape: str, session: Session) -> None:
    app = graphs_over(state)[shape].compile()
    with using(MODEL):
        done = run(app, state(topic="tea"), session, "t", user="ada", tags=["blog"], metadata={"shop": 7})
        streamed = list(stream_run(app, {"topic": "tea"}, session, "s"))
    for result in (done, resume(app, session, "t"), streamed[-1], pickle.loads(pickle.dumps(done))):
        assert isinstance(result, RunResult)
        assert is_of(result.value, state)
        assert (result.status, content(result.value, "draft")) == ("done", "a write")
        assert {name: content(result.value, name) for name in result.values} == result.values
    (row,) = session.journal.query(
        "SELECT \"user\", tags, metadata FROM invocations WHERE thread_id = 't' LIMIT 1"
    )
    assert (row["user"], row["tags"], row["metadata"]) == ("ada", '["blog"]', '{"shop":7}')


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("streams", [False, True])
def test_a_run_that_stops_has_a_value_too(state: Any, streams: bool, session: Session) -> None:
    def ended(*args: Any, **options: Any) -> RunResult[Any]:
        return list(stream_run(*args, **options))[-1] if streams else run(*args, **options)

    graphs = graphs_over(state)
    with using(MODEL):
        app = graphs["nested"].compile()
        partial = ended(app, state(topic="tea"), session, "p", budget=Budget(calls=1))
        assert (partial.status, content(partial.value, "draft")) == ("partial", "a write")
        assert partial.budget_end.limit == "calls"
        assert ended(app, None, session, "p", budget=Budget()).status == "done"
        app = graphs["asks"].compile()
        asks = ended(app, state(topic="tea"), session, "i")
        assert (asks.status, [one.value for one in asks.waiting]) == ("interrupted", ["good?"])
        assert is_of(asks.value, state)
        done = ended(app, Command(resume="yes"), session, "i")
        assert (done.status, content(done.value, "end")) == ("done", "yes")
        few = ended(graphs["chain"].compile(), state(topic="tea"), session, "s", budget=Budget(supersteps=1))
        assert (few.status, content(few.value, "draft"), few.missing) == ("partial", "a write", ("end",))


async def test_a_stream_gives_words_and_updates_and_ends_with_the_result(session: Session) -> None:
    app = graphs_over(AsDataclass)["nested"].compile()
    words, nodes = "", list[str]()
    with using(MODEL):
        async for part in astream_run(app, AsDataclass(), session, "t"):
            if isinstance(part, RunResult):
                assert part.value.end == "a end"
            elif part["type"] == "messages":
                words += str(part["data"][0].content)
            elif part["type"] == "updates" and not part["ns"]:
                nodes += part["data"]
    assert words == "a writea end"
    assert len(nodes) == 2


async def test_a_stream_that_is_left_early_can_be_gone_on_with(session: Session) -> None:
    app = graphs_over(AsDataclass)["chain"].compile()
    with using(MODEL):
        async with aclosing(astream_run(app, AsDataclass(), session, "t", stream_mode="updates")) as parts:
            async for _ in parts:
                break
        for _ in stream_run(app, AsDataclass(), session, "sync", stream_mode="updates"):
            break
        for thread in ("t", "sync"):
            result = await arun(app, None, session, thread)
            assert (result.status, result.value.end, result.spent.calls) == ("done", "a end", 2)


def test_a_stream_raises_what_its_nodes_raise(session: Session) -> None:
    def fail(given: AsDataclass) -> None:
        raise ZeroDivisionError("by nought")

    with pytest.raises(ZeroDivisionError):
        list(stream_run(chain(fail).compile(), AsDataclass(), session))


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("given", [5, "tea", ["tea"]])
def test_what_is_no_input_is_refused_before_anything_is_paid(
    state: Any, given: Any, session: Session
) -> None:
    app = graphs_over(state)["chain"].compile()
    for call in (run, lambda *args: list(stream_run(*args))):
        with (
            ScriptedModel([]) as model,
            using(model),
            pytest.raises(InputError, match=f"expected {state.__name__}"),
        ):
            call(app, given, session)


def test_values_that_make_no_state_are_told_when_they_are_asked_for() -> None:
    @dataclass
    class Needs:
        topic: str

    result: RunResult[Needs] = RunResult("t", "partial", {}, Session.spent, state_type=Needs)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"do not make a Needs: .*topic"):
        _ = result.value


def test_keys_in_metadata_and_tags_are_masked(session: Session) -> None:
    app = graphs_over(AsDataclass)["chain"].compile()
    key = "sk-proj-" + "a1B2" * 8
    with using(MODEL):
        run(app, AsDataclass(), session, "t", tags=[key], metadata={"key": key})
    (row,) = session.journal.query("SELECT tags, metadata FROM invocations")
    assert key not in row["tags"] + row["metadata"]


def test_a_result_tells_which_texts_were_cut(session: Session) -> None:
    @step("draft")
    def write(given: AsDataclass) -> Ask[str]:
        return Ask("write", max_tokens=4)

    @step("end")
    def finish(given: AsDataclass) -> Ask[str]:
        return Ask("finish", max_tokens=4)

    class Cut(ScriptedModel):
        async def complete(self, request: Request, context: CallContext) -> Reply:
            reply = await super().complete(request, context)
            return replace(reply, finish_reason="length") if context.step == "write" else reply

    app = chain(chain(write, name="inner"), finish).compile()
    with using(Cut(["one two", "three"])):
        result = run(app, AsDataclass(), session, "cut")
    assert result.cut == ("inner/write",)
    assert result.value.draft == "one two"
    with using(ScriptedModel(["one", "two"])):
        assert run(app, AsDataclass(), session, "whole").cut == ()
