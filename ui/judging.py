"""How far the judges of eval runs agree with people, as the files of results say it. Nobody is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..evals.files.results import read_agreements
from ..evals.scoring.agreement import Agreement
from ..state.errors import InputError

FOLDER: Final = Path("stepgraph-evals")
MOST: Final = 100  # files, the latest


@dataclass(frozen=True)
class JudgedRun:
    """One judge in one run of a suite; `at` is when its file was written last."""

    run: str
    suite: str
    at: float
    agreement: Agreement


@dataclass(frozen=True)
class Judged:
    """The judges that were measured, the latest first, and the files that cannot be read."""

    runs: tuple[JudgedRun, ...]
    unread: tuple[str, ...]


def read_judges(folder: Path = FOLDER) -> Judged:
    """Read what the runs of a folder say of their judges."""
    there = [(path.stat().st_mtime, path) for path in folder.glob("*.jsonl") if path.is_file()]
    runs: list[JudgedRun] = []
    unread: list[str] = []
    for at, path in sorted(there, reverse=True)[:MOST]:
        try:
            run, suite, agreements = read_agreements(path)
        except InputError:
            unread.append(path.name)
            continue
        runs += [JudgedRun(run, suite, at, agreement) for agreement in agreements]
    return Judged(tuple(runs), tuple(unread))
