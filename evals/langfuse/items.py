"""Cases as items of a Langfuse dataset, and the ids of items and experiments."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic_core import to_jsonable_python

from ...state.masking import Masker
from ..suite.model import Case


def item_of(suite: str, case: Case, mask: Masker) -> dict[str, Any]:
    """Return a case as what creates its item, without keys and personal data."""
    return {
        "dataset_name": suite,
        "id": item_id(suite, case.id),
        "input": _masked(case.input, mask),
        "expected_output": _masked(expectation_of(case), mask),
        "metadata": {"suite": suite, "case": case.id, "tags": list(case.tags)},
    }


def _masked(value: Any, mask: Masker) -> Any:
    return mask.value(to_jsonable_python(value, fallback=repr))


def comparable(item: Mapping[str, Any]) -> str:
    """Return what makes an item that is there already the same as another."""
    return json.dumps([item[name] for name in ("input", "expected_output", "metadata")], sort_keys=True)


def expectation_of(case: Case) -> dict[str, Any] | None:
    """Return what a case expects, without what it leaves out; None if it expects nothing."""
    expect = case.expect
    expectation = {"output": expect.output} if expect.has_output else {}
    parts: dict[str, Any] = {
        "route": expect.route,
        "path": asdict(expect.path) if expect.path else None,
        "rounds": {path: asdict(bound) for path, bound in expect.rounds.items()},
        "nodes": dict(expect.nodes),
        "error": expect.error,
    }
    expectation |= {name: part for name, part in parts.items() if part}
    return {**expectation, **expect.values} or None


def item_id(suite: str, case: str) -> str:
    """Return the id of a case's item, which must be the only one of its id in a project."""
    return stable_id(32, suite, case)


def experiment_id(project_id: str, dataset_id: str, run: str) -> str:
    """Return the id that Langfuse's server and SDK give to a run of this name on this dataset."""
    parts = ["langfuse-experiment-v1", project_id, dataset_id, run]
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def stable_id(length: int, *parts: str) -> str:
    """Return hexadecimal digits that follow from some texts."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:length]
