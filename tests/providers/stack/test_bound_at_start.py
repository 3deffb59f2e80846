"""Models that are bound where a program starts answer everywhere; whoever would pay for another is told."""

import asyncio
import contextvars
import multiprocessing
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph

from stepgraph import Ask, ScriptedModel, Session, arun, chain, run, section, step, using
from stepgraph.graphs.cost_bound import estimate
from stepgraph.providers.stack.roles import UsingElsewhereWarning
from stepgraph.state.errors import DefinitionError, SettingsError, UnboundRole


@dataclass
class Post:
    topic: str = "tea"
    draft: str = ""
    title: str = ""


@step("draft", model="large")
def write(post: Post) -> Ask[str]:
    return Ask("Write.")


@step("title")
def name(post: Post) -> Ask[str]:
    return Ask("Name it.")


def passing(post: Post) -> None: ...


def says(text: str) -> ScriptedModel:
    return ScriptedModel(lambda request, context: text)


@pytest.fixture
def paid(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings bind a model that cannot be reached."""
    monkeypatch.setenv("STEPGRAPH_MODEL", '{"no": "such model"}')


def by_hand() -> Any:
    builder = StateGraph(Post)
    builder.add_node("write", write)
    builder.add_edge(START, "write")
    builder.add_edge("write", END)
    return builder.compile()


def in_a_pool(work: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def in_a_thread(work: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def in_a_task(work: Callable[[], Any]) -> Any:
    async def main() -> Any:
        return await asyncio.create_task(asyncio.to_thread(work))

    return asyncio.run(main())


def in_an_empty_context(work: Callable[[], Any]) -> Any:
    return contextvars.Context().run(work)


def here(work: Callable[[], Any]) -> Any:
    return work()


PLACES = [(here, 0), (in_a_pool, 2), (in_a_thread, 0), (in_a_task, 2), (in_an_empty_context, 0)]


@pytest.mark.usefixtures("paid")
@pytest.mark.parametrize(("place", "others"), PLACES)
@pytest.mark.parametrize("bound", ["session", "graph", "nested graph"])
def test_what_is_bound_at_the_start_answers_everywhere(
    place: Any, bound: str, others: int, tmp_path: Path
) -> None:
    models = says("cheap")
    with Session(tmp_path / "r.sqlite", models=models if bound == "session" else None) as session:
        graphs = {
            "session": [chain(write).compile(), by_hand(), chain(section({"draft": chain(write)})).compile()],
            "graph": [chain(write).compile(models=models), chain(chain(write)).compile(models=models)],
            "nested graph": [chain(chain(write).compile(models=models), passing).compile()],
        }[bound]
        with blocks_in_other_threads(others):
            for graph in graphs:
                assert place(lambda graph=graph: run(graph, Post(), session)).value.draft == "cheap"
                if bound != "session":
                    assert place(lambda graph=graph: graph.invoke(Post()))["draft"] == "cheap"
                assert (
                    place(lambda graph=graph: asyncio.run(arun(graph, Post(), session))).value.draft
                    == "cheap"
                )


@contextmanager
def blocks_in_other_threads(count: int) -> Iterator[None]:
    leave, entered = threading.Event(), threading.Barrier(count + 1)

    def work() -> None:
        with using(says("another request's")):
            entered.wait()
            leave.wait()

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    entered.wait()
    yield
    leave.set()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("paid")
def test_the_nearest_binding_counts(tmp_path: Path) -> None:
    """using, then the inner graph, then the outer one, then the session."""
    with Session(
        tmp_path / "r.sqlite", models={"large": says("session"), "default": says("session")}
    ) as session:
        plain = chain(write, name)
        outer = plain.compile(models={"large": says("graph")})
        inner = chain(chain(write).compile(models={"LARGE": says("inner")}), name).compile(
            models=says("outer")
        )
        for graph, expected in [
            (plain.compile(), ("session", "session")),
            (outer, ("graph", "session")),
            (inner, ("inner", "outer")),
        ]:
            value = run(graph, Post(), session).value
            assert (value.draft, value.title) == expected
            with using(large=says("using")):
                value = run(graph, Post(), session).value
                assert (value.draft, value.title) == ("using", expected[1])
            with using(says("using")):
                value = run(graph, Post(), session).value
                assert (value.draft, value.title) == ("using", "using")
            with using(), pytest.raises(SettingsError):  # the settings alone
                run(graph, Post(), session)


def test_what_binds_nothing_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"compile\(models=…\), role 'large': unknown provider"):
        chain(write).compile(models={"large": "opnai:x"})
    with pytest.raises(DefinitionError, match=r"compile\(models=…\): int is no model"):
        chain(write).compile(models=5)  # type: ignore[arg-type]
    told = pytest.raises(SettingsError, match=r"Session\(models=…\): unknown provider")
    with Session(tmp_path / "r.sqlite", models="opnai:x") as session, told:
        run(chain(write).compile(), Post(), session)


def test_a_table_of_settings_is_a_model_for_every_role_and_is_estimated(tmp_path: Path) -> None:
    table = {"base_url": "http://localhost:1/v1", "model": "m"}
    (asked,) = estimate(chain(write).compile(models=table)).steps
    assert asked.model == "m"
    with Session(tmp_path / "r.sqlite", models=table) as session:
        (asked,) = estimate(chain(write), session=session).steps
    assert asked.model == "m"


async def test_a_lifespan_that_another_task_closes(tmp_path: Path) -> None:
    """As servers and test fixtures do it: a generator begins in one context and ends in another."""

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[Any]:
        with Session(tmp_path / "r.sqlite", models=says("cheap")) as session, using(name=says("x")):
            yield session

    async def request(session: Session) -> str:
        return (await arun(chain(write).compile(), Post(), session)).value.draft

    life = lifespan()
    session = await asyncio.create_task(life.__aenter__())
    assert await asyncio.gather(*(asyncio.create_task(request(session)) for _ in range(3))) == ["cheap"] * 3
    await asyncio.create_task(life.__aexit__(None, None, None))


@pytest.mark.parametrize("closer", [in_a_thread, in_an_empty_context])
def test_a_generator_that_another_context_closes_leaves_nothing_behind(closer: Any) -> None:
    def fixture() -> Iterator[None]:
        with using(says("inside")):
            yield

    with using(says("outside")):
        generator = fixture()
        next(generator)
        assert chain(write).compile().invoke(Post())["draft"] == "inside"
        closer(generator.close)
        assert chain(write).compile().invoke(Post())["draft"] == "outside"
    with pytest.raises(UnboundRole):
        chain(write).compile().invoke(Post())


async def test_the_settings_do_not_answer_silently_while_a_block_is_open_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STEPGRAPH_MODEL", "vllm:paid")
    opened, leave = asyncio.Event(), asyncio.Event()

    async def lifespan() -> None:
        with using(says("cheap")):
            opened.set()
            await leave.wait()

    life = asyncio.create_task(lifespan())
    await opened.wait()
    with pytest.warns(UsingElsewhereWarning, match="not around this call"):
        assert (await write.bound_model(None)).name == "paid"
    with using(), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (await write.bound_model(None)).name == "paid"
    leave.set()
    await life


def draft_in_child(_: int) -> str:
    return str(chain(write).compile().invoke(Post())["draft"])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_pool_of_processes_inside_a_block_asks_no_other_model(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPGRAPH_MODEL", "vllm:paid")
    context = multiprocessing.get_context(method)
    with ExitStack() as stack:
        stack.enter_context(using(says("cheap")))
        pool: Executor = stack.enter_context(ProcessPoolExecutor(1, context))
        outcome = pool.submit(partial(draft_in_child, 1))
        if method == "fork":
            assert outcome.result() == "cheap"
        else:
            with pytest.raises(UnboundRole, match="in the process that started this one"):
                outcome.result()
