"""A run as a case of a suite, with a person's verdict: what its form holds, and the command that it leads to.

The command is `stepgraph eval add`, in a process of its own, so the page loads none of a suite's code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from ..evals.files.located import read_located
from ..state.errors import InputError
from ..tracing.record.run import OutputField, Run
from ..tracing.record.values import cut_text
from .texts import Text

ENDINGS: Final = (".eval.yaml", ".eval.yml", ".eval.jsonl")
NEW: Final = "cases.eval.yaml"
MOST_SUITES: Final = 50
MOST_BYTES: Final = 2_000_000  # of all suites that are read for a form
LONGEST: Final = 20_000  # characters of a field that can be corrected here
TOLD: Final = "Becomes a case of"


@dataclass(frozen=True)
class CaseForm:
    """What the form offers: suites below the working folder, their judges with labels, and the output."""

    suites: tuple[str, ...]
    judges: tuple[str, ...]
    case: str
    outputs: tuple[tuple[str, str], ...]


def case_form(
    run: Run, outputs: Sequence[tuple[OutputField, Text]], folder: Path | None = None
) -> CaseForm | None:
    """Return the form for a run that ended well, None for any other."""
    if run.state != "done":
        return None
    suites = dict(_suites(folder or Path.cwd()))
    return CaseForm(
        suites=tuple(suites) or (NEW,),
        judges=tuple(dict.fromkeys(name for names in suites.values() for name in names)),
        case=re.sub(r"[^\w.-]+", "-", run.thread.thread_id).strip("-") or "case",
        outputs=tuple(
            (item.name, text.whole)
            for item, text in outputs
            if text.length <= LONGEST and not text.media and not cut_text(item.value)
        ),
    )


def case_arguments(
    one: Callable[[str], str], typed: Mapping[str, str], folder: Path | None = None
) -> list[str]:
    """Return the arguments of `stepgraph eval add` that a form stands for. Raises InputError."""
    suite, verdict, judge = one("suite").strip(), one("verdict"), one("judge").strip()
    _check_suite(suite, folder or Path.cwd())
    if verdict not in ("right", "wrong"):
        raise InputError("Say whether the run is right or wrong.")
    arguments = ["eval", "add", f"--suite={suite}", f"--verdict={verdict}", "--json"]
    for option, value in (("case", one("case").strip()), ("judge", judge), ("by", one("by").strip())):
        arguments += [f"--{option}={value}"] if value else []
    if verdict == "wrong":
        for name, value in typed.items():
            field = name.removeprefix("correct.")
            if field != name and value != one(f"given.{field}"):
                arguments.append(f"--correct={field}={value}")
    return arguments


def _check_suite(text: str, folder: Path) -> None:
    """Raise InputError for what is no suite below the working folder."""
    path = Path(text)
    try:
        inside = not path.is_absolute() and (folder / path).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        inside = False
    if not inside or not text.endswith((".yaml", ".yml", ".jsonl")):
        raise InputError(f"{text or 'It'} is no suite: a .yaml, .yml or .jsonl file below this folder.")


def _suites(folder: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the suites in a folder and the folders in it, each with its judges that have labels."""
    paths = [path for pattern in ("*", "*/*") for end in ENDINGS for path in folder.glob(f"{pattern}{end}")]
    left = MOST_BYTES
    # The first is taken if nobody chooses, and a suite names code to load: those of this folder come first.
    order = sorted((path.parent != folder, path) for path in paths if path.is_file())
    for _, path in order[:MOST_SUITES]:
        status = path.stat()
        left -= status.st_size
        judges = _judges(path, status.st_mtime_ns, status.st_size) if left >= 0 else ()
        yield path.relative_to(folder).as_posix(), judges


@lru_cache(maxsize=2 * MOST_SUITES)
def _judges(path: Path, _changed: int, _size: int) -> tuple[str, ...]:
    """Return the judges of a suite that have labels; a file is read once, until it changes."""
    try:
        return tuple(_judges_in(read_located(path).data))
    except (InputError, OSError):
        return ()


def _judges_in(data: object) -> Iterator[str]:
    evaluators = data.get("evaluators") if isinstance(data, dict) else None
    for each in evaluators if isinstance(evaluators, list) else ():
        if isinstance(each, dict) and each.get("kind") == "judge" and each.get("labels"):
            yield str(each.get("name", "judge"))
