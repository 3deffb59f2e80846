"""Finished trials, and the file that keeps them: one JSON line each, added as they end.

A line is handed to the system whole as its trial ends; what a crash left half written is passed over. A
line that a power cut loses costs nothing, because the trial is found finished on its thread. Several
processes may add to one file. The first line of a trial counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from ...state.blobs import named
from ...state.cost import Cost
from ...state.errors import InputError, StepgraphError
from ...state.private_files import make_folder, open_private
from ..scoring.trial_record import Loop, Route, VoteResult
from ..suite.model import Gate, Score, Suite, TrialStatus
from .located import read_text

FORMAT = 2


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
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return TypeAdapter(cls).validate_python(data)


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
        )


@dataclass
class Results:
    """The trials of one run of a suite, in memory and in their file."""

    path: Path | None
    header: Header
    trials: dict[tuple[str, int], Trial] = field(default_factory=dict)
    judged: Cost = field(default_factory=Cost)
    notes: list[str] = field(default_factory=list)
    trusted: dict[str, bool] = field(default_factory=dict)

    @property
    def wanted(self) -> int:
        return len(self.header.cases) * self.header.repeats

    @property
    def complete(self) -> bool:
        return len(self.trials) >= self.wanted

    def add(self, trial: Trial) -> None:
        """Keep a trial; no end of this process loses it any more."""
        key = trial.case, trial.repeat
        if key not in self.trials:
            self.trials[key] = trial
            self.append(asdict(trial))

    def note(self, judged: Cost, notes: list[str], trusted: Mapping[str, bool]) -> None:
        """Keep what the judges cost and how far they are to be believed."""
        self.judged, self.notes, self.trusted = judged, list(notes), dict(trusted)
        self.append({"judged": asdict(judged), "notes": self.notes, "trusted": self.trusted})

    def refresh(self) -> None:
        """Take in what other processes have added."""
        if self.path is not None:
            self.trials.update(read_results(self.path).trials)

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row in one write, on a line of its own even after one that a crash cut short."""
        if self.path is None:
            return
        # An image is told by its hash: the record has it.
        line = named(json.dumps(to_jsonable_python(row, fallback=repr, inf_nan_mode="strings")))
        with open_private(self.path, "ab+", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":
                    line = "\n" + line
            file.write(line.encode("utf-8", "replace") + b"\n")


def open_results(path: Path, header: Header) -> Results:
    """Begin a file of results, or go on with one. Raises InputError if it is of another suite."""
    if path.exists() and path.stat().st_size:
        found = read_results(path)
        old = found.header
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
        found.header = header
        return found
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
        told = " ".join(str(error).split())
        raise InputError(f"{path} holds a line that is none of results: {told:.200}.") from None


def _read(path: Path) -> Results:
    rows = []
    for line in read_text(path, "The results").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue  # a crash cut it short
    head = rows[0] if rows and isinstance(rows[0], dict) else {}
    if head.pop("stepgraph_eval", None) != FORMAT:
        raise InputError(f"{path} holds no results of an eval suite (format {FORMAT}).")
    head["gates"] = tuple(Gate(**gate) for gate in head["gates"])
    results = Results(path, TypeAdapter(Header).validate_python(head))
    for row in rows[1:]:
        if not isinstance(row, dict):
            continue
        if "scores" in row:
            trial = Trial.from_json(row)
            results.trials.setdefault(trial.key, trial)
        elif "judged" in row:
            results.judged, results.notes = Cost(**row["judged"]), row["notes"]
            results.trusted = row["trusted"]
    return results
