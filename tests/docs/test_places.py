"""What the docs name is there: files, links with their anchors, commands with their options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from stepgraph.cli.app import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = "benchmarks|cli|docs|evals|examples|graphs|nodes|providers|runners|state|stepgraph|tests|tracing|ui"
PATH = re.compile(rf"`((?:{FOLDERS})/[\w./*-]*)`")
LINK = re.compile(r"\]\((?!https?://)([^)#]*)(?:#([^)]+))?\)")
REFERENCE = re.compile(r"^\[([^\]]+)\]: ", re.MULTILINE)
USED = re.compile(r"\]\[([^\]]+)\]")
FENCE = re.compile(r"^```\w+.*?^```$", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```sh.*?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:\w+=\S+ )?stepgraph\s[^`]+)`")

# What the starter writes into a user's folder.
OF_USERS = {"evals/routes.yaml"}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def prose_of(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    seen: dict[str, int] = {}
    anchors = set()
    for heading in re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        anchors.add(f"{slug}-{seen[slug]}" if slug in seen else slug)
        seen[slug] = seen.get(slug, 0) + 1
    return anchors


@each_page
def test_it_begins_with_what_one_can_do_with_it(page: Path) -> None:
    title, second, first_line = page.read_text(encoding="utf-8").splitlines()[:3]
    assert title.startswith("# ")
    assert not second
    assert first_line[0].isalpha() or first_line.startswith("`stepgraph")


@each_page
def test_each_path_exists(page: Path) -> None:
    named = set(PATH.findall(prose_of(page))) - OF_USERS
    assert [path for path in sorted(named) if not [*ROOT.glob(path.rstrip("/"))]] == []


def test_each_place_has_the_name_that_contributing_gives_it() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    places = re.findall(r"`([\w/]+\.py)`: ((?:`\w+`(?:, )?)+)", text)
    assert len(places) > 10
    for path, names in places:
        code = (ROOT / path).read_text(encoding="utf-8")
        for name in re.findall(r"\w+", names):
            assert re.search(rf"^(?:async )?(?:def|class) {name}\b", code, re.MULTILINE), f"{path}: {name}"


def test_each_page_is_on_the_map() -> None:
    linked = {
        (ROOT / "docs" / target).resolve() for target, _ in LINK.findall(prose_of(ROOT / "docs/README.md"))
    }
    pages = {page for page in PAGES if page.parent.name != "patterns"} - {ROOT / "docs/README.md"}
    assert pages - linked == set()


def test_a_page_names_no_file_without_its_folder() -> None:
    """A reader of the architecture page goes from the root of the repository."""
    bare = re.findall(r"`(\w+\.py)`", prose_of(ROOT / "docs/architecture.md"))
    assert set(bare) <= {"__init__.py"}


@each_page
def test_each_link_and_its_anchor_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(prose_of(page)):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors_of(file), f"{page.name} links to {target}#{anchor}"


@each_page
def test_each_reference_is_defined_and_used(page: Path) -> None:
    assert set(USED.findall(prose_of(page))) == set(REFERENCE.findall(prose_of(page)))


def commands_in(page: Path) -> Iterator[list[str]]:
    text = page.read_text(encoding="utf-8")
    lines = [line for block in SHELL.findall(text) for line in block.splitlines()]
    for line in [*lines, *INLINE.findall(prose_of(page))]:
        words = shlex.split(line.replace("…", "x"))
        while words and "=" in words[0]:
            words.pop(0)
        if words and words[0] == "stepgraph":
            yield words[1:]


def problem_with(words: list[str]) -> str | None:
    """Say what of a command does not exist."""
    command: click.Command = cli
    context = click.Context(cli)
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(context, rest[0])
        if found is None:
            return f"no command {rest[0]}"
        command = found
        rest.pop(0)
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    known |= {"--help", "--version", "-h"}
    unknown = [word for word in rest if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in known]
    return f"no option {unknown[0]}" if unknown else None


@each_page
def test_each_command_and_its_options_exist(page: Path) -> None:
    problems = {" ".join(words): problem_with(words) for words in commands_in(page)}
    assert {words: problem for words, problem in problems.items() if problem} == {}


def test_a_command_that_does_not_exist_is_noticed() -> None:
    assert problem_with(["shwo", "one"]) == "no command shwo"
    assert problem_with(["eval", "run", "--jbos", "2"]) == "no option --jbos"
    assert problem_with(["run", "support-desk", "-i", "body=--x", "--thread", "one"]) is None


@each_page
def test_examples_import_from_the_faces(page: Path) -> None:
    """Ready graphs, the sandbox, and what patterns are built of are imported from where they lie."""
    faces = "coding|errors|evals|testing|tracing"
    deep = rf"^ *(?:from|import) (stepgraph\.(?!{faces})[\w.]+|stepgraph\.\w+\.[\w.]+)"
    modules = re.findall(deep, page.read_text(encoding="utf-8"), re.MULTILINE)
    patterns = ("stepgraph.graphs.engine.workflow", "stepgraph.nodes.costs")
    allowed = ("stepgraph.graphs.ready.", "stepgraph.nodes.sandboxes", *patterns)
    assert [module for module in modules if not module.startswith(allowed)] == []
