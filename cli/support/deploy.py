"""`stepgraph deploy check`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from ...runners.bindings import parse_models
from ...runners.deploying import Outlook, deploy_check
from ...runners.loading import Loaded, load_graph
from ...state.database import Database, is_missing
from ...state.errors import InputError, StepgraphError
from ...state.journal.reading import readable
from ...state.session.session import Session
from ...tracing.record.listing import unended_threads
from ...tracing.record.text import clean, money
from ...tracing.record.threads import Thread
from ..exit_codes import ExitCode


def check_deploy(
    new: Sequence[str],
    *,
    old: str | None,
    models: Sequence[str],
    database: Database,
    as_json: bool,
) -> ExitCode:
    """Print what would become of each thread, and return the exit code."""
    if is_missing(database):
        raise InputError(f"There is no file {database}, so no thread waits there.")
    if isinstance(database, Path):
        database = database.absolute()
    versions = Versions(new, old)
    bound = parse_models(models)
    outlooks: list[Outlook] = []
    others: Counter[str] = Counter()
    with readable(database) as kept, Session(kept) as session, deploy_check(session, bound) as check:
        for thread in unended_threads(session.journal):
            try:
                loaded = versions.of(thread)
            except StepgraphError as problem:
                outlook = Outlook(
                    thread.thread_id,
                    thread.graph or thread.name,
                    "",
                    "must finish",
                    because=(str(problem),),
                    to_do="Correct the new version, or let the thread finish on the old one.",
                )
            else:
                if loaded is None:
                    others[thread.graph or thread.name or "a graph without a name"] += 1
                    continue
                outlook = check.outlook(thread, loaded.graph)
            outlooks.append(outlook)
            click.echo(json.dumps(_row(outlook), ensure_ascii=False) if as_json else _line(outlook))
    _summary(outlooks, others, as_json)
    return ExitCode.DONE if all(outlook.is_well for outlook in outlooks) else ExitCode.FAILED


@dataclass
class Versions:
    """The new versions, and of which threads each is one."""

    new: Sequence[str]
    old: str | None
    _loaded: dict[str, Loaded] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.old is not None and len(self.new) > 1:
            raise InputError("--old names what one NEW takes the place of, but there are several.")
        for reference in self.new:
            if not Path(reference).is_dir():
                self._load(reference)

    def of(self, thread: Thread) -> Loaded | None:
        """Return the new version of a thread's graph, None if it gets none."""
        for reference in self.new:
            if Path(reference).is_dir():
                loaded = self._in_folder(Path(reference), thread)
            else:
                loaded = self._load(reference) if self._is_of(self._load(reference), thread) else None
            if loaded is not None:
                return loaded
        return None

    def _load(self, reference: str) -> Loaded:
        if reference not in self._loaded:
            self._loaded[reference] = load_graph(reference)
        return self._loaded[reference]

    def _is_of(self, loaded: Loaded, thread: Thread) -> bool:
        if self.old is not None:
            place, sign, attribute = self.old.rpartition(":")
            known = {self.old, f"{Path(place).absolute()}{sign}{attribute}"}
            return thread.graph in known or (thread.graph is None and thread.name == self.old)
        if thread.graph is None:
            return thread.name == loaded.graph.get_name()
        return _tail(thread.graph) == _tail(loaded.reference)

    def _in_folder(self, folder: Path, thread: Thread) -> Loaded | None:
        if thread.graph is None or ":" not in thread.graph:
            return None
        place, _, attribute = thread.graph.rpartition(":")
        if not place.endswith(".py"):
            with chdir(folder):
                return self._load(thread.graph)
        for file in self._files(folder, Path(place)):
            if file.is_file():
                return self._load(f"{file}:{attribute}")
        if self.old is None or Path(place).is_relative_to(Path(self.old).absolute()):
            raise InputError(f"The folder {folder} has no file that takes the place of {place}.")
        return None

    def _files(self, folder: Path, place: Path) -> Iterator[Path]:
        """Yield the files that may take the place of one on record, the best first."""
        old = None if self.old is None else Path(self.old).absolute()
        if old is not None:
            if place.is_relative_to(old):
                yield folder / place.relative_to(old)
            return
        for number in range(1, len(place.parts)):
            yield folder.joinpath(*place.parts[number:])


def _tail(reference: str) -> tuple[str, str]:
    place, _, attribute = reference.rpartition(":")
    name = Path(place).stem if place.endswith(".py") else place.rpartition(".")[2]
    return name, attribute


def _row(outlook: Outlook) -> Mapping[str, Any]:
    return {
        "thread": outlook.thread,
        "graph": outlook.graph,
        "verdict": outlook.verdict,
        "because": list(outlook.because),
        "to_do": outlook.to_do,
        "waits_for": outlook.waits_for,
        "was": outlook.was,
        "now": outlook.now,
        "migrations": list(outlook.migrations),
        "repaid_calls": outlook.repaid_calls,
        "repaid_usd": outlook.repaid.usd,
        "unchecked_calls": outlook.unchecked_calls,
    }


def _line(outlook: Outlook) -> str:
    where = f", waits for {outlook.waits_for}" if outlook.waits_for else ""
    lines = [f"{outlook.thread}: {outlook.verdict}{where}"]
    if outlook.migrations:
        lines.append(f"  by {', '.join(outlook.migrations)}, from version {outlook.was}")
    lines += [f"  {reason}" for reason in outlook.because]
    if outlook.repaid_calls:
        lines.append(f"  {_calls(outlook.repaid_calls)} paid again: {money(outlook.repaid.usd)}")
    if outlook.to_do:
        lines.append(f"  {outlook.to_do}")
    return clean("\n".join(lines))


def _calls(number: int) -> str:
    return "1 call is" if number == 1 else f"{number} calls are"


def _summary(outlooks: Sequence[Outlook], others: Mapping[str, int], as_json: bool) -> None:
    graphs: dict[str, Counter[str]] = {}
    for outlook in outlooks:
        graphs.setdefault(outlook.graph or "", Counter())[outlook.verdict] += 1
    if as_json:
        summary = {"graphs": graphs, "not_checked": dict(others)}
        click.echo(json.dumps({"summary": summary}, ensure_ascii=False))
        return
    for graph, verdicts in graphs.items():
        counts = ", ".join(f"{number} {verdict}" for verdict, number in sorted(verdicts.items()))
        click.echo(clean(f"{graph}: {counts}"))
    for graph, number in others.items():
        click.echo(clean(f"{graph}: {number} not checked, the new version is of another graph"))
    if not outlooks:
        click.echo("No thread waits for this version.")
