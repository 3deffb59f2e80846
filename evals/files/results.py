"""Finished trials, and the file that keeps them: one JSON line each, added as they end.

A line is handed to the system whole as its trial ends; what a crash left half written is passed over. A
line that a power cut loses costs nothing, because the trial is found finished on its thread. Several
processes may add to one file. The first line of a trial counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Self

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from ...state.blobs import named
from ...state.cost import Cost
from ...state.errors import InputError, StepgraphError
from ...state.private_files import make_folder, open_private
from ..scoring.agreement import Agreement
from ..scoring.trial_record import Loop, Route, VoteResult
from ..suite.model import Gate, Score, Suite, TrialStatus
from .filed import Filed
from .located import opened

FORMAT = 2
MOST_HEAD = 50_000_000  # characters


@dataclass(frozen=True)
class Trial:
    """How one run of one case ended.

    failed: an error was raised, or the input was refused. cut: the trial's own budget ended it, `error`
    says where. waiting: it asks a person. All three count as bad, unless the case expects the error.
    """

    case: str
    repeat: int
    thread: str
    status: TrialStatus
    error: str | None = None
    scores: Mapping[str, Score] = field(default_factory=dict)
    expected_routes: Mapping[str, str] = field(default_factory=dict)
    path: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    loops: tuple[Loop, ...] = ()
    votes: tuple[VoteResult, ...] = ()
    limit: str | None = None
    missing: tuple[str, ...] = ()
    cost: Cost = field(default_factory=Cost)
    roles: Mapping[str, Cost] = field(default_factory=dict)
    seconds: float = 0.0
    output: Any = None

    @property
    def key(self) -> tuple[str, int]:
        return self.case, self.repeat

    @property
    def passed(self) -> bool:
        """Whether no score of it failed; what nobody could score does not."""
        return all(score.passed is not False for score in self.scores.values())

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Trial:
        return _adapter().validate_python(data)


@cache
def _adapter() -> TypeAdapter[Trial]:
    return TypeAdapter(Trial)


def _trial_in(line: bytes) -> Trial:
    return Trial.from_json(json.loads(line))


@dataclass(frozen=True)
class Header:
    """What the trials of a file are trials of."""

    run: str
    suite: str
    fingerprint: str
    cases: Mapping[str, str]
    repeats: int
    graph: str | None
    node: str | None
    models: Mapping[str, str]
    gates: tuple[Gate, ...]
    level: float
    shape: str = ""
    source: str | None = None
    main: tuple[str, ...] = ()

    @classmethod
    def of(cls, suite: Suite, run: str, models: Mapping[str, str], shape: str = "") -> Self:
        return cls(
            run=run,
            suite=suite.name,
            fingerprint=suite.fingerprint,
            cases={case.id: case.digest for case in suite.cases},
            repeats=suite.repeats,
            graph=suite.graph,
            node=suite.node,
            models=dict(models),
            gates=tuple(suite.gates),
            level=suite.level,
            shape=shape,
            source=None if suite.source is None else str(suite.source),
            main=tuple(suite.main),
        )


@dataclass
class Results:
    """The trials of one run of a suite, in their file; so many as memory bears are there too."""

    path: Path | None
    header: Header
    trials: Filed[tuple[str, int], Trial] = field(init=False)
    judged: Cost = field(default_factory=Cost)
    notes: list[str] = field(default_factory=list)
    trusted: dict[str, bool] = field(default_factory=dict)
    agreements: list[Agreement] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.trials = Filed(self.path, _trial_in, lambda trial: self.append(asdict(trial)))

    @property
    def wanted(self) -> int:
        return len(self.header.cases) * self.header.repeats

    @property
    def complete(self) -> bool:
        return len(self.trials) >= self.wanted

    def add(self, trial: Trial) -> None:
        """Keep a trial; no end of this process loses it any more."""
        self.trials.setdefault((trial.case, trial.repeat), trial)

    def note(self, judged: Cost, notes: list[str], trusted: Mapping[str, bool]) -> None:
        """Keep what the judges cost and how far they are to be believed."""
        self.judged, self.notes, self.trusted = judged, list(notes), dict(trusted)
        agreed = [asdict(agreement) for agreement in self.agreements]
        fields = {"judged": asdict(judged), "notes": self.notes, "trusted": self.trusted}
        self.append({**fields, "agreements": agreed} if agreed else fields)

    def refresh(self) -> None:
        """Take in what other processes have added."""
        if self.path is not None:
            self.trials.take(read_results(self.path).trials)

    def append(self, row: Mapping[str, Any]) -> int | None:
        """Add a row in one write, on a line of its own even after one that a crash cut short.

        Returns where its line begins.
        """
        if self.path is None:
            return None
        # An image is told by its hash: the record has it.
        line = named(json.dumps(to_jsonable_python(row, fallback=repr, inf_nan_mode="strings")))
        with open_private(self.path, "ab+", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":
                    line = "\n" + line
            data = line.encode("utf-8", "replace") + b"\n"
            file.write(data)
            # Others may have added lines since: what counts is where this write ended.
            return file.tell() - len(data.lstrip(b"\n"))


def open_results(path: Path, header: Header) -> Results:
    """Begin a file of results, or go on with one. Raises InputError if it is of another suite."""
    if path.exists() and path.stat().st_size:
        existing = read_results(path)
        old = existing.header
        if old.fingerprint != header.fingerprint:
            raise InputError(
                f"The run {header.run!r} ({path}) is of another version of the suite {old.suite!r}. Take "
                "another --run."
            )
        if old.shape != header.shape:
            raise InputError(
                f"The run {header.run!r} ({path}) began with a graph of another shape. Take another --run."
            )
        if dict(old.models) != dict(header.models):
            raise InputError(
                f"The run {header.run!r} began with the models {dict(old.models) or 'of the settings'}; go "
                "on with the same, or take another --run."
            )
        existing.header = header
        return existing
    make_folder(path.parent)
    results = Results(path, header)
    results.append({"stepgraph_eval": FORMAT, **asdict(header)})
    return results


def read_results(path: Path) -> Results:
    """Read a file of results. Raises InputError."""
    try:
        return _read(path)
    except StepgraphError:
        raise
    except (TypeError, ValueError, AttributeError, LookupError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise InputError(f"{path} holds a line that is none of results: {problem:.200}.") from None


def _read(path: Path) -> Results:
    rows = _rows(path)
    _, head = next(rows, (0, {}))
    if head.pop("stepgraph_eval", None) != FORMAT:
        raise InputError(f"{path} holds no results of an eval suite (format {FORMAT}).")
    head["gates"] = tuple(Gate(**gate) for gate in head["gates"])
    results = Results(path, TypeAdapter(Header).validate_python(head))
    for place, row in rows:
        if "scores" in row:
            trial = Trial.from_json(row)
            results.trials.keep((trial.case, trial.repeat), trial, place)
        elif "judged" in row:
            results.judged, results.notes = Cost(**row["judged"]), row["notes"]
            results.trusted = row["trusted"]
            results.agreements = TypeAdapter(list[Agreement]).validate_python(row.get("agreements", []))
    return results


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a file with where their lines begin, one in memory at a time."""
    place = 0
    with opened(path, "The results") as file:
        for line in file:
            try:
                row = json.loads(line.decode("utf-8").removeprefix("\ufeff"))
            except UnicodeDecodeError as error:
                raise InputError(f"The results {str(path)!r} cannot be read: {error}.") from None
            except ValueError:
                row = None  # a crash cut it short
            if isinstance(row, dict):
                yield place, row
            place += len(line)


def read_agreements(path: Path) -> tuple[str, str, list[Agreement]]:
    """Return a run's name, its suite's, and how far its judges agree with people, without reading trials."""
    head: Any = None
    last = ""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            head = json.loads(file.readline(MOST_HEAD))
            for line in file:
                last = line if line.startswith('{"judged"') else last
        row = json.loads(last) if last else {}
        agreed = TypeAdapter(list[Agreement]).validate_python(row.get("agreements", []))
        return str(head["run"]), str(head["suite"]), agreed
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} holds no results that can be read: {type(error).__name__}.") from None
