"""The call stack: the layers that are built, their order, and what each one needs of those outside it."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import FunctionType

import pytest

from stepgraph import ScriptedModel
from stepgraph.providers.backends.backend import Backend, PlainBackend
from stepgraph.providers.model import CallContext, Layer, Model, Reply, Request
from stepgraph.providers.settings import ModelSettings
from stepgraph.providers.stack import stack as module
from stepgraph.providers.stack.coalescing import CoalescingLayer
from stepgraph.providers.stack.fallbacks import FallbackChain
from stepgraph.providers.stack.journal import JournalLayer
from stepgraph.providers.stack.recorded import RecordedLayer
from stepgraph.providers.stack.roles import as_model
from stepgraph.providers.stack.stack import Member, ModelStack, stacked

ARCHITECTURE = Path(__file__).parents[3] / "docs/architecture.md"
# The caller puts these in; the layers only count on with `attempt` and say more in `reason`.
OF_THE_CALLER = {"step", "role", "config", "attempt", "cache_s", "reason", "check"}
OF_THE_STACK = {field.name for field in fields(CallContext) if field.init} - OF_THE_CALLER


class Deaf(Backend):
    """A backend with all that the stack can have a layer for."""

    name = "deaf"
    address = "http://here/v1"
    tools = "emulated"

    async def complete(self, request: Request, context: CallContext) -> Reply:
        if context.sink is not None:
            await context.sink.emit("ok")
        return Reply("ok", self.name)


def full() -> ModelStack:
    settings = ModelSettings(model="", provider="given", hedge_after_s=1)
    return stacked(Member(Deaf(), settings), Member(Deaf(), settings))


def walk(model: Model) -> Iterator[Model]:
    """Yield a model and all inside it; of a chain, the first member's."""
    while True:
        yield model
        if isinstance(model, FallbackChain):
            model = model.models[0]
        elif isinstance(model, Layer):
            model = model.inner
        else:
            return


def names_in(text: str) -> list[str]:
    return re.findall(r"^    (\w+)  +\w", text, re.MULTILINE)


def test_the_layers_stand_in_the_order_that_stack_says() -> None:
    built = [type(model).__name__ for model in walk(full())]
    assert [*built[:-1], "Backend"] == names_in(module.__doc__ or "")


def test_the_architecture_page_lists_the_same_layers() -> None:
    page = ARCHITECTURE.read_text(encoding="utf-8").partition("## One call")[2].partition("\n## ")[0]
    assert names_in(page) == names_in(module.__doc__ or "")


def context_use(kind: type[Model]) -> tuple[set[str], set[str]]:
    """Return the fields of the context that a layer reads, and those that it sets, with all it calls."""
    reads: set[str] = set()
    sets: set[str] = set()
    todo: list[type | FunctionType] = [kind]
    done: set[object] = set()
    while todo:
        item = todo.pop()
        if item in done:
            continue
        done.add(item)
        names = vars(sys.modules[item.__module__])
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(item)))):
            match node:
                case ast.Attribute(value=ast.Name("context"), attr=attribute):
                    reads.add(attribute)
                case ast.Call(func=ast.Name("replace"), args=[ast.Name("context")], keywords=given):
                    sets |= {keyword.arg for keyword in given if keyword.arg}
                case ast.Call(func=ast.Name(name)) if isinstance(names.get(name), FunctionType):
                    if names[name].__module__.startswith("stepgraph.providers.stack"):
                        todo.append(names[name])
    return reads, sets


def test_a_layer_that_needs_what_another_sets_is_inside_it() -> None:
    seen: set[str] = set()
    needed: set[str] = set()
    for model in walk(full()):
        reads, sets = context_use(type(model))
        if isinstance(model, (CoalescingLayer, RecordedLayer)):
            reads.discard("reserved")  # None in the row of a shared answer: it costs nothing
        assert reads & OF_THE_STACK <= seen | (sets & {"key"}), type(model).__name__
        seen |= sets
        needed |= reads & OF_THE_STACK
    assert needed == OF_THE_STACK == {"key", "reserved", "outcome", "sink"}


def test_the_journal_is_inside_all_that_it_records() -> None:
    order = [type(model) for model in walk(full())]
    reads, _ = context_use(JournalLayer)
    assert {"key", "attempt", "reason", "reserved", "outcome"} <= reads
    for kind in order[order.index(JournalLayer) + 1 :]:
        assert not context_use(kind)[1] & reads, kind.__name__


def test_a_layer_is_only_there_where_it_has_something_to_do() -> None:
    (plain,) = as_model(ScriptedModel([]), "here").members
    built = {type(model).__name__ for model in walk(stacked(plain))}
    assert built.isdisjoint({"FallbackChain", "HedgingLayer", "CircuitBreakerLayer", "ToolEmulationLayer"})
    own = PlainBackend(ScriptedModel([]))
    own.emits_tokens = True
    assert "StreamingLayer" in built
    assert "StreamingLayer" not in {type(m).__name__ for m in walk(stacked(Member(own, plain.settings)))}


def test_a_full_stack_is_not_wrapped_again() -> None:
    model = as_model(ScriptedModel([]), "here")
    assert as_model(model, "there") is model
    chain = as_model([model, ScriptedModel([])], "there")
    assert chain.members[0].backend is model.members[0].backend
    assert len(chain.members) == 2


def test_a_model_of_ones_own_says_what_it_wants_to_and_has_defaults_for_the_rest() -> None:
    class Own:
        name = "own"
        tools = "emulated"
        max_tokens = 7

        async def complete(self, request: Request, context: CallContext) -> Reply:
            return Reply("ok", self.name)

    (member,) = as_model(Own(), "here").members
    backend = member.backend
    assert (backend.name, backend.tools, backend.max_tokens) == ("own", "emulated", 7)
    assert (backend.address, backend.emits_tokens, backend.price) == ("", False, None)


@pytest.mark.parametrize("change", [{"temperature": 1}, {"max_tokens": 5}, {"structured": "prompt"}], ids=str)
def test_what_changes_an_answer_changes_the_identity(change: dict[str, object]) -> None:
    settings = ModelSettings(model="", provider="given")
    other = settings.model_copy(update=change)
    assert Member(Deaf(), settings).identity != Member(Deaf(), other).identity
    assert Member(Deaf(), settings).identity == Member(Deaf(), settings.model_copy()).identity
