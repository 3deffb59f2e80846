"""What a person said of a recorded run, as one more example by which a judge is measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...state.errors import InputError, did_you_mean
from ...state.journal.journal import Journal
from ..scoring.judge import Judge
from ..scoring.trial_record import read_record
from ..suite.model import Suite, digest
from .located import json_lines, read_text
from .recorded_case import ended_run


def judge_of(suite: Suite, name: str) -> Judge:
    """Return a judge of a suite that has a file of labels. Raises InputError."""
    judges = {judge.name: judge for judge in suite.evaluators if isinstance(judge, Judge)}
    if name not in judges:
        raise InputError(f"{suite.source or suite.name} has no judge {name!r}. {did_you_mean(name, judges)}")
    if judges[name].labels is None:
        raise InputError(
            f"The judge {name!r} has no file for what people say. Give it one: `labels: labels.jsonl`."
        )
    return judges[name]


def label_of(
    journal: Journal, thread_id: str, judge: Judge, *, passed: bool, by: str | None = None
) -> dict[str, Any]:
    """Return a recorded run as an example for a judge, with what a person says of it."""
    run_input, output = ended_run(journal, thread_id)
    value: Any = output
    if judge.node is not None:
        visits = [p for p in read_record(journal, thread_id).passages if p.path == judge.node]
        if not visits or visits[-1].cut:
            raise InputError(f"What {judge.node!r} wrote in the run {thread_id!r} is not whole on record.")
        value = visits[-1].output
    if judge.field is not None:
        if not isinstance(value, Mapping) or judge.field not in value:
            raise InputError(f"The run {thread_id!r} gave no field {judge.field!r}, which is judged.")
        value = value[judge.field]
    label = {"input": dict(run_input), "output": value, "passed": passed}
    return {**label, "by": by} if by else label


def with_label(path: Path, label: Mapping[str, Any]) -> str:
    """Return the text of a file of labels with one more. Raises InputError if it has that example already."""
    text = read_text(path, "The judge's labels")
    for number, row in json_lines(text, str(path)):
        same = isinstance(row, dict) and all(
            digest(row.get(name)) == digest(label[name]) for name in ("input", "output")
        )
        if same:
            raise InputError(f"{path} has this example already, on line {number}.")
    gap = "" if not text or text.endswith("\n") else "\n"
    return f"{text}{gap}{json.dumps(label, ensure_ascii=False)}\n"
