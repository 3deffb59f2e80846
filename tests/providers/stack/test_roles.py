from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Ask, ScriptedModel, Session, chain, step, using
from stepgraph.providers.settings import file_bindings
from stepgraph.providers.stack.roles import as_model, find_model, find_model_async
from stepgraph.state.errors import DefinitionError, ModelRefused, SettingsError, UnboundRole


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
