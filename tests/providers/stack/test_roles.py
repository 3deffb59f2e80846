from __future__ import annotations

import asyncio
import contextvars
import multiprocessing
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel

from stepgraph import Ask, ScriptedModel, Session, chain, step, using
from stepgraph.providers.backends.langchain import ChatModel
from stepgraph.providers.settings import ChainSettings, ModelSettings, file_bindings
from stepgraph.providers.stack.roles import MARK, as_model, bindings_here, find_model, find_model_async
from stepgraph.state.errors import DefinitionError, ModelRefused, SettingsError, UnboundRole
from stepgraph.state.run_context import RunContext


@dataclass
class Post:
    topic: str = "tea"
    draft: str = ""


@step("draft", model="Large")
def write(post: Post) -> Ask[str]:
    return Ask("Write.")


def says(text: str) -> ScriptedModel:
    return ScriptedModel(lambda request, context: text)


async def test_the_order_is_using_environment_file_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = '{{ base_url = "http://localhost:1/v1", model = "{}" }}'
    lines = [f"{role} = {spec.format(f'file-{role}')}" for role in ("default", "small", "large")]
    (tmp_path / "stepgraph.toml").write_text("\n".join(["[models]", *lines]))
    monkeypatch.setenv("STEPGRAPH_MODEL_LARGE", "vllm:env-large")

    assert find_model("other").name == "file-default"
    assert find_model(None).name == "file-default"
    assert find_model("small").name == "file-small"
    assert find_model("LARGE").name == "env-large"
    with using(large=says("x")):
        assert find_model("large").name == "scripted"
        assert find_model("small").name == "file-small"
    with using(default=says("x")):
        assert find_model("small").name == "file-small"
        assert find_model("other").name == "scripted"
    with using(says("x")):
        assert find_model("small").name == "scripted"
    monkeypatch.setenv("STEPGRAPH_MODEL", "vllm:env-default")
    assert (await find_model_async("other")).name == "env-default"


async def test_a_bound_model_is_found_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a thread for what is bound")

    file_bindings.cache_clear()
    monkeypatch.setattr(asyncio, "to_thread", refuse)
    with using(says("every")):
        assert (await find_model_async("large")).name == "scripted"
    with using(large=says("large")):
        assert (await find_model_async("large")).name == "scripted"
        with pytest.raises(AssertionError):  # the settings may say who answers
            await find_model_async("small")


async def test_inner_bindings_hide_outer_ones() -> None:
    with using(says("every"), large=says("large")):
        assert await write.answer(Post()) == "large"
        with using(large=says("inner")):
            assert await write.answer(Post()) == "inner"
        with using(says("all")):
            assert await write.answer(Post()) == "all"
        assert await write.answer(Post()) == "large"


async def test_bindings_of_concurrent_tasks_do_not_mix() -> None:
    async def ask(text: str) -> str:
        with using(says(text)):
            await asyncio.sleep(0)
            result = await chain(write).compile().ainvoke(Post())
        return str(result["draft"])

    assert await asyncio.gather(*map(ask, "abc")) == ["a", "b", "c"]


def test_an_unbound_role_says_how_to_bind_it() -> None:
    with pytest.raises(UnboundRole) as caught, using(small=says("x")):
        find_model("large")
    for help_ in ("'large'", "Bound roles: small", "stepgraph.toml", "STEPGRAPH_MODEL_LARGE", "using(large="):
        assert help_ in str(caught.value)
    with pytest.raises(UnboundRole, match=r"\(STEPGRAPH_MODEL=openai:gpt-5-mini\)"):
        find_model(None)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"using\(large=…\): int is no model"), using(large=3):  # type: ignore[arg-type]
        pass
    with pytest.raises(SettingsError, match=r"using\(…\): unknown provider 'opnai'"), using("opnai:x"):
        pass


def test_equal_settings_share_one_model() -> None:
    spec: dict[str, Any] = {"base_url": "http://localhost:1/v1", "model": "m"}
    assert as_model(spec, "here") is as_model(dict(spec), "there")


async def test_a_step_may_have_a_model_of_its_own() -> None:
    @step("draft", model=says("own"))
    def own(post: Post) -> Ask[str]:
        return Ask("Write.")

    with using(says("other")):
        assert await own.answer(Post()) == "own"


def test_bindings_hold_for_sync_callers_too() -> None:
    with using(says("sync")):
        assert chain(write).compile().invoke(Post())["draft"] == "sync"


@pytest.mark.parametrize("bound", ["session", "graph"])
def test_a_block_without_models_hides_what_session_and_graph_bind_and_one_with_models_does_not(
    tmp_path: Path, bound: str
) -> None:
    models = {"session": {"models": says("bound")}, "graph": {}}[bound]
    app = chain(write).compile(models=says("bound") if bound == "graph" else None)
    with Session(tmp_path / "runs.sqlite", **models) as session:
        with using(small=says("small")):
            assert app.invoke(Post(), session.config("a"))["draft"] == "bound"
        with using(), pytest.raises(UnboundRole):
            app.invoke(Post(), session.config("b"))
        with using(), using(small=says("small")), pytest.raises(UnboundRole):
            app.invoke(Post(), session.config("c"))


def test_a_settings_file_binds_a_chain(tmp_path: Path) -> None:
    (tmp_path / "stepgraph.toml").write_text(
        '[models]\nlarge = ["vllm:a", { base_url = "http://h/v1", model = "b" }]\n'
        '[models.small]\nmodels = ["vllm:c", "ollama:d"]\non = ["busy", "invalid"]\n'
    )
    assert find_model("large").name == "a"
    assert find_model("small").name == "c"


def test_the_environment_binds_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPGRAPH_MODEL_LARGE", "vllm:a, ollama:b")
    assert find_model("large").name == "a"


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (
            {"models": ["local"], "onn": ["busy"]},
            r"unknown setting 'onn' of a chain of models\. Did you mean 'on'",
        ),
        ({"models": ["local"], "on": ["bussy"]}, r"unknown reason 'bussy' in on\. Did you mean 'busy'"),
        ({"models": ["local"], "on": ["unsure"]}, "needs min_confidence"),
        ({"models": ["local"], "min_confidence": 2}, "min_confidence: Input should be less"),
        ({"models": "local"}, "models must be a list"),
        ({"models": []}, "models: Tuple should have at least 1 item"),
        ({"models": ["vllm:a", "opnai:b"]}, "model 2: unknown provider 'opnai'"),
        ({"provider": "vllm", "model": "a", "capabilities": {"tool": "native"}}, "unknown capability 'tool'"),
    ],
)
def test_a_chain_that_cannot_be_used_is_explained(table: dict[str, object], problem: str) -> None:
    with pytest.raises(SettingsError, match=f"^here.*{problem}"):
        as_model(table, "here")


async def test_a_full_stack_is_not_wrapped_again(session: Session) -> None:
    model = as_model(as_model([ScriptedModel(["Boil."])], "here"), "there")
    with using(model):
        await chain(write).compile().ainvoke(Post(), session.config())
    assert len(session.journal.query("SELECT id FROM calls")) == 1


async def test_an_answer_of_the_second_is_replayed(session: Session) -> None:
    second = ScriptedModel(["Boil."])
    model = as_model([ScriptedModel([ModelRefused("no")]), second], "here")
    fails = [True]

    async def both(post: Post) -> dict[str, str]:
        draft = await write.answer(post)
        if fails.pop():
            raise RuntimeError("stop")
        return {"draft": draft}

    config = session.config("t")
    graph = chain(both).compile()
    with using(model):
        with pytest.raises(RuntimeError):
            await graph.ainvoke(Post(), config)
        fails.append(False)
        assert (await graph.ainvoke(None, config))["draft"] == "Boil."
    assert len(second.asks) == 1


def test_a_block_without_models_hides_those_around_it() -> None:
    with using(says("x")), using(), pytest.raises(UnboundRole):
        find_model("large")


def test_a_block_in_a_block_leaves_what_the_session_binds(session: Session) -> None:
    session.models = {"large": says("bound")}
    run = RunContext.of(session.config("t"))
    for role in ("small", "other"):
        with using(other=says("x")), using(**{role: says("y")}):
            assert find_model("large", run).name == "scripted"


def test_the_environment_tells_new_processes_of_open_blocks() -> None:
    assert MARK not in os.environ
    with using(says("x")):
        with using(says("y")):
            assert MARK in os.environ
        assert MARK in os.environ
    assert MARK not in os.environ


@pytest.mark.parametrize("is_marked", [True, False], ids=["a block was open", "no block was"])
@pytest.mark.parametrize("is_child", [True, False], ids=["in a child", "in the first process"])
def test_a_child_of_a_process_with_an_open_block_asks_no_other_model(
    monkeypatch: pytest.MonkeyPatch, is_marked: bool, is_child: bool
) -> None:
    monkeypatch.setenv("STEPGRAPH_MODEL", "vllm:paid")
    if is_marked:
        monkeypatch.setenv(MARK, "1")
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: object() if is_child else None)
    if is_marked and is_child:
        with pytest.raises(UnboundRole, match="in the process that started this one"):
            find_model("large")
        with using():
            assert find_model("large").name == "paid"
    else:
        assert find_model("large").name == "paid"


def in_a_plain_thread(work: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def test_a_thread_without_context_works_in_the_innermost_block_or_in_what_is_bound(session: Session) -> None:
    assert in_a_plain_thread(lambda: bindings_here()) is not None
    with using(says("x")), using(small=ScriptedModel(["y"])):
        assert in_a_plain_thread(lambda: find_model("small")) is find_model("small")
        assert in_a_plain_thread(lambda: find_model("large")) is find_model("large")
    session.models = {"large": says("bound")}
    run = RunContext.of(session.config("t"))
    with blocks_of_others(2):
        assert in_a_plain_thread(lambda: find_model("large", run)) is find_model("large", run)
        for asked in (lambda: find_model("small", run), lambda: find_model("large")):
            with pytest.raises(UnboundRole, match="nobody knows which one"):
                in_a_plain_thread(asked)


@contextmanager
def blocks_of_others(count: int) -> Iterator[None]:
    """Open blocks in contexts of their own, side by side."""
    contexts = [contextvars.copy_context() for _ in range(count)]
    blocks = [using(says("another's")) for _ in contexts]
    for context, block in zip(contexts, blocks, strict=True):
        context.run(block.__enter__)
    try:
        yield
    finally:
        for context, block in zip(contexts, blocks, strict=True):
            context.run(block.__exit__, None, None, None)


def test_bindings_are_handed_on_and_put_back() -> None:
    with using(says("there")):
        handed, there = bindings_here(), find_model("large")
    with using(says("here")):
        here = find_model("large")
        with handed():
            assert find_model("large") is there
        assert find_model("large") is here


def test_nothing_is_said_of_bound_roles_where_there_are_none() -> None:
    with pytest.raises(UnboundRole) as caught:
        find_model("large")
    assert "Bound roles" not in str(caught.value)


def test_settings_that_were_read_already_are_a_model_that_is_shared() -> None:
    one = ModelSettings(model="m", base_url="http://localhost:1/v1")
    two = ChainSettings(models=(one, one))
    for settings in (one, two):
        assert as_model(settings, "here") is as_model(settings, "there")
    assert [member.settings for member in as_model([one, one], "here").members] == [one, one]


def test_a_chain_in_a_list_stays_one_member_and_a_single_model_is_itself() -> None:
    single = as_model(says("x"), "here")
    pair = as_model([says("x"), says("y")], "here")
    assert as_model([single, says("z")], "here").members[0] is single.members[0]
    assert as_model(pair, "here") is pair
    assert len(as_model([pair, says("z")], "here").members) == 2


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ([], "here: an empty list names no model"),
        (ScriptedModel, "here: ScriptedModel is a class. Make an instance"),
        ([ScriptedModel], "here: ScriptedModel is a class"),
        (5, "here: int is no model"),
    ],
    ids=["nothing", "a class", "a class in a list", "a number"],
)
def test_what_cannot_be_a_model_is_explained(model: Any, problem: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(problem)):
        as_model(model, "here")


async def test_what_a_session_binds_is_read_once_outside_of_the_event_loop(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may name models whose settings stand in a file."""
    threads: list[str] = []
    to_thread = asyncio.to_thread

    async def noted(work: Any, *args: Any) -> Any:
        threads.append(work.__name__)
        return await to_thread(work, *args)

    monkeypatch.setattr(asyncio, "to_thread", noted)
    session.models = says("bound")
    run = RunContext.of(session.config("t"))
    file_bindings.cache_clear()
    first = await find_model_async("large", run)
    assert threads == ["find_model"]
    assert await find_model_async(None, run) is first
    with Session(tmp_path / "other.sqlite") as other, using(says("x")):
        assert (await find_model_async("large", RunContext.of(other.config("t")))).name == "scripted"
    assert threads == ["find_model"]
    monkeypatch.setenv("STEPGRAPH_MODEL_LARGE", "vllm:large")
    assert (await find_model_async("LARGE")).name == "large"
    assert threads == ["find_model", "_by_settings"]
    with pytest.raises(UnboundRole):
        find_model("small")  # reads the file
    assert (await find_model_async("large")).name == "large"
    assert threads == ["find_model", "_by_settings"]


def test_a_list_may_mix_all_that_is_or_names_a_model() -> None:
    chat = FakeListChatModel(responses=["x"])
    models = [says("x"), "vllm:a", {"provider": "vllm", "model": "b"}, chat]
    for given in (models, tuple(models), {"models": models, "on": ["busy"]}):
        members = as_model(given, "here").members
        assert [member.backend.name for member in members[:3]] == ["scripted", "a", "b"]
        assert isinstance(members[3].backend, ChatModel)
        assert members[3].settings.provider == "given"
    with pytest.raises(SettingsError, match="here: unknown reason 'bussy'"):
        as_model({"models": models, "on": ["bussy"]}, "here")
