"""What a replay was begun as: its cohort and its inputs, put on record before anything is paid."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import Any

from ...runners.bindings import answering_models
from ...state.errors import InputError, SettingsError, StoreError, did_you_mean
from ...state.json_text import json_text
from ...state.names import REPLAYS, without_private
from ...state.schema import parse_input, values_of
from ...state.session.session import MAX_ID, Session
from ...tracing.record.cohorts import plan_rows, read_plan
from ...tracing.record.reads import read_rows
from ...tracing.record.recorded_run import read_inputs, was_edited
from ...tracing.record.values import cut_text
from ..files.located import INSTALL_HELP
from ..running.runner import NAME
from ..suite.model import digest
from ..suite.topology import Compiled
from .change import change_digest, effects_of
from .selection import draw, parse_selection


@dataclass(frozen=True)
class ReplayCase:
    """One recorded run, and the thread on which it is replayed."""

    origin: str
    thread: str


@dataclass(frozen=True)
class Plan:
    """A replay: which recorded runs go through which graph. `left_out` says which cannot, and why.

    `found` is how many runs fitted the selection, `runs`, of which these were drawn. `models` are the ones
    that were named for it; `answering` tells by role what was bound, in the settings or in Python, too.
    """

    name: str
    runs: str
    seed: int
    graph: str | None
    digest: str
    found: int
    cases: tuple[ReplayCase, ...]
    models: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    answering: Mapping[str, str] = field(default_factory=dict)

    @property
    def thread(self) -> str:
        """The thread of the replay itself, on which judges are asked."""
        return f"{REPLAYS}{self.name}"


def plan_of(
    session: Session,
    graph: Compiled,
    runs: str,
    *,
    name: str | None = None,
    seed: int = 0,
    threads: Sequence[str] | None = None,
    reference: str | None = None,
    models: Mapping[str, str] | None = None,
) -> Plan:
    """Return the replay of that name as it was begun, or begin it. Raises InputError for one of another kind.

    Without a name, equal words on an unchanged graph with the same models go on with one replay.
    """
    selection = parse_selection(runs)
    if threads is not None:
        runs = f"{runs} of {len(threads)} named threads {digest(list(threads))[:8]}".lstrip()
    mark, bound = change_digest(graph), dict(models or {})
    answering = {role: digest(identity) for role, identity in answering_models(graph, session).items()}
    if name is None:
        name = f"{_plain(graph.get_name())}-{digest([runs, seed, mark, bound, answering])[:8]}"
    if not NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name for a replay. Take letters, digits, dots, - and _.")
    begun = read_plan(session.journal, f"{REPLAYS}{name}")
    if begun is not None:
        now = Plan(name, runs, seed, reference, mark, 0, (), bound, (), answering)
        begun_plan = _same(_read(begun, name), now)
        _check_statistics()
        return begun_plan
    cohort = draw(session.journal, selection, seed, threads)
    cases, left_out = [], list(cohort.left_out)
    for origin in cohort.threads:
        problem = problem_with(session, graph, origin)
        if problem is None:
            cases.append(ReplayCase(origin, _thread(name, origin)))
        else:
            left_out.append(f"{origin}: {problem}")
    if not cases:
        why = "; ".join(left_out[:5])
        raise InputError(f"None of the {len(cohort.threads)} runs can be replayed. {why}")
    _check_statistics()
    plan = Plan(
        name, runs, seed, reference, mark, cohort.total, tuple(cases), bound, tuple(left_out), answering
    )
    origins = {case.thread: case.origin for case in cases}
    session.journal.write(list(plan_rows(plan.thread, asdict(plan), reference, bound, origins)))
    return plan


def _check_statistics() -> None:
    """Raise SettingsError, before anything is put on record or paid, where the report could not be made."""
    if find_spec("scipy") is None:
        raise SettingsError(f"The statistics of a replay need scipy. {INSTALL_HELP}")


def check_allowed(graph: Compiled, effects: Sequence[str]) -> None:
    """Raise InputError for an effect to allow that the graph does not have."""
    known, served = effects_of(graph)
    for effect in effects:
        if effect not in known and not served:
            raise InputError(
                f"The graph {graph.get_name()!r} has no effect {effect!r} to allow. "
                + did_you_mean(effect, known)
            )


def problem_with(session: Session, graph: Compiled, origin: str) -> str | None:
    """Return why a recorded run cannot be replayed, None if it can."""
    if was_edited(session, origin):
        return "its state was changed by hand, which its input does not tell"
    try:
        inputs = inputs_of(session, graph, origin)
    except (InputError, StoreError) as error:  # one that is damaged holds up no other
        return str(error)
    return None if inputs else "its input is not on record"


def inputs_of(session: Session, graph: Compiled, origin: str) -> list[dict[str, Any]]:
    """Return a recorded run's inputs as the graph takes them. Raises InputError for one that does not fit."""
    inputs = read_inputs(session, origin)
    if not inputs:
        inputs = _from_rows(session, origin)
    return [_parsed(graph.builder.input_schema, without_private(values)) for values in inputs]


def _parsed(state: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that were given, and no others, as the state has them."""
    try:
        whole = parse_input(state, values)
    except InputError:  # of a class that has another name by now
        whole = parse_input(state, json.loads(json_text(values)))
    parsed = values_of(whole)
    return {name: parsed[name] for name in values}


def _from_rows(session: Session, origin: str) -> list[dict[str, Any]]:
    """Return the inputs as the invocations have them, where the checkpoints were pruned."""
    by_trace: dict[int, dict[str, Any]] = {}
    for row in read_rows(session.journal.query, "invocations", origin):
        if row["trace"] in by_trace or not row["input"]:
            continue
        values = json.loads(session.journal.whole(row["input"]))
        if not isinstance(values, dict):
            raise InputError("its input has no fields on record")
        if cut_text(values) or any(map(cut_text, values.values())):
            raise InputError("its input is too long for the record, which has only its start")
        by_trace[row["trace"]] = values
    return list(by_trace.values())


def _same(begun: Plan, now: Plan) -> Plan:
    differs = {
        "another selection": begun.runs != now.runs,
        "another seed": begun.seed != now.seed,
        "other models": dict(begun.models) != dict(now.models)
        or any(begun.answering.get(role, identity) != identity for role, identity in now.answering.items()),
        "another version of the graph": begun.digest != now.digest,
    }
    for what, other in differs.items():
        if other:
            raise InputError(
                f"The replay {now.name!r} was begun with {what}. Go on with the same, or take another name: "
                "--run NAME."
            )
    return begun


def _read(row: Mapping[str, Any], name: str) -> Plan:
    """Return a plan on record. Its threads are told by its name: a record from elsewhere chooses none."""
    cases = tuple(ReplayCase(case["origin"], _thread(name, case["origin"])) for case in row["cases"])
    return Plan(**{**row, "name": name, "cases": cases, "left_out": tuple(row["left_out"])})


def _thread(name: str, origin: str) -> str:
    thread = f"{REPLAYS}{name}/{origin}"
    return thread if len(thread) <= MAX_ID else f"{thread[: MAX_ID - 20]}-{digest(origin)}"


def _plain(name: str) -> str:
    return ("".join(c if c.isalnum() else "-" for c in name.lower()).strip("-") or "graph")[:60]
