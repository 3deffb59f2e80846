"""Long results compressed for an agent's model: what it needs is shown, the rest is read by its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage

from stepgraph import Ask, Context, Request, ScriptedModel, Session, ToolCall, agent, run, step, using
from stepgraph.nodes.excerpts import excerpt_of

from ..long_agents import LongRun


@dataclass
class Work:
    text: str
    answer: str = ""


@step("answer")
def work(state: Work) -> Ask[str]:
    return Ask(state.text, system="Read, then answer.", max_tokens=100)


def settings_file(lines: int = 1_500) -> str:
    """Return a long file of settings, with one in the midst that is asked for."""
    every = [f"colour_{number} = {number * 7}" for number in range(lines)]
    every[lines // 2] = "retry_limit = 41"
    return "\n".join(every)


def open_file(path: str) -> str:
    """Read a file."""
    return settings_file() if path == "app/settings.py" else '{"rows": [' + "1, " * 20_000 + "2]}"


def numbered(excerpt: str) -> dict[int, str]:
    lines, number = {}, 0
    for line in excerpt.split("\n")[1:]:
        if line.startswith("@"):
            number = int(line[1:])
        else:
            lines[number] = line
            number += 1
    return lines


def results_in(request: Request) -> list[str]:
    return [str(message["content"]) for message in request.messages if message["role"] == "tool"]


def test_the_line_that_is_needed_is_shown_and_others_are_read_by_number(tmp_path: Path) -> None:
    shown: list[list[str]] = []

    def model(request: Request, _: Any) -> Any:
        shown.append(results_in(request))
        if len(shown) == 1:
            return ToolCall("open_file", {"path": "app/settings.py"})
        if len(shown) == 2:
            call = next(m for m in request.messages if m.get("tool_calls"))["tool_calls"][0]
            return ToolCall("read_earlier", {"id": call["id"], "lines": "1001-1003"})
        return "41"

    app = agent(work, tools=[open_file], context=Context(tokens=30_000, compress=True), max_chars=2_000)
    with Session(tmp_path / "runs.sqlite") as session, using(ScriptedModel(model)):
        done = run(app.compile(), Work("What is the retry limit?"), session, "t")
        kept = app.compile().get_state(session.config("t")).values["stepgraph_messages"]
    assert done.values["answer"] == "41"
    first = shown[1][0]
    assert numbered(first)[751] == "retry_limit = 41"
    assert "of 1,500 lines are shown" in first
    assert len(first) < 2_300
    assert shown[2][0] == first  # what comes before stays the same
    assert shown[2][1] == "colour_1000 = 7000\ncolour_1001 = 7007\ncolour_1002 = 7014"
    assert settings_file() in [m.content for m in kept if isinstance(m, ToolMessage)]


def test_a_resume_shows_the_same_lines_and_pays_nothing_again(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    asked: list[str] = []
    stops = [True]

    def model(request: Request, _: Any) -> Any:
        asked.append("\n".join(results_in(request)))
        turn = len(results_in(request))
        if turn == 2 and stops.pop():
            stops.append(False)
            raise Stop
        return ToolCall("open_file", {"path": "app/settings.py"}) if turn < 2 else "41"

    def app() -> Any:
        context = Context(tokens=30_000, compress=True)
        return agent(work, tools=[open_file], context=context, max_chars=2_000).compile()

    with Session(tmp_path / "runs.sqlite") as session, using(ScriptedModel(model)):
        with pytest.raises(Stop):
            run(app(), Work("What is the retry limit?"), session, "t")
        paid = len(asked)
        run(app(), None, session, "t")
    assert len(asked) == paid + 1
    assert asked[-1] == asked[paid - 1]
    assert asked[-1].startswith(asked[1])


def test_a_result_of_one_long_line_is_cut_as_without(tmp_path: Path) -> None:
    shown: list[list[str]] = []

    def model(request: Request, _: Any) -> Any:
        shown.append(results_in(request))
        return ToolCall("open_file", {"path": "rows.json"}) if len(shown) == 1 else "2"

    app = agent(work, tools=[open_file], context=Context(tokens=30_000, compress=True), max_chars=2_000)
    with Session(tmp_path / "runs.sqlite") as session, using(ScriptedModel(model)):
        run(app.compile(), Work("Which rows are there?"), session, "t")
    assert shown[1][0].startswith('{"rows": [1, 1,')
    assert "2,000 of" in shown[1][0]


@pytest.mark.parametrize("lines", ["0-3", "7-2", "9999", "x", "-", "1-2-3"])
def test_lines_that_are_not_there_are_told(lines: str, tmp_path: Path) -> None:
    said: list[str] = []

    def model(request: Request, _: Any) -> Any:
        results = results_in(request)
        said.extend(results[1:])
        if not results:
            return ToolCall("open_file", {"path": "app/settings.py"}, id="c1")
        return ToolCall("read_earlier", {"id": "c1", "lines": lines}) if len(results) == 1 else "?"

    app = agent(work, tools=[open_file], context=Context(tokens=30_000, compress=True)).compile()
    with using(ScriptedModel(model)):
        app.invoke(Work("What is the retry limit?"))
    assert "There are no lines" in said[0]


@pytest.mark.parametrize("chars", [1, 50, 400, 5_000])
@pytest.mark.parametrize("name", ["a.py", "notes.md", "result"])
def test_an_excerpt_is_never_longer_than_it_may_be(chars: int, name: str) -> None:
    text = settings_file() + "\n" + "\u4e2d" * 3_000
    found = excerpt_of("retry limit", name, text, chars)
    if found is not None:
        assert len(found.split("\n", 1)[1]) <= chars


def test_a_long_agent_answers_from_long_results_too(tmp_path: Path) -> None:
    done = LongRun(turns=30, facts=8, tokens=8_000, compress=True).run(tmp_path)
    assert done.answered == 8
    assert done.excerpts
    assert done.most_tokens <= 8_000
