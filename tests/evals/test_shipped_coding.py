"""The suites on code that ship: what a right model, and the workers alone, score; the tokens of each role."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from stepgraph import ScriptedModel, Session, using
from stepgraph.evals.files.suite_file import read_suite
from stepgraph.evals.report.render import as_text
from stepgraph.evals.report.sections import sections
from stepgraph.evals.report.summary import Report, summarise
from stepgraph.evals.running.runner import run_suite
from stepgraph.evals.suite.check import check_suite
from stepgraph.evals.suite.shipping import shipped_path
from stepgraph.evals.suite.targets import target_of
from stepgraph.evals.suite.trees import unpacked
from stepgraph.graphs.catalog import ready_graph
from stepgraph.state.errors import InputError

EDITS = {
    "shop": {
        "shop/totals.py": [
            ('sum(item["price"] for item in items)', 'sum(item["price"] * item["count"] for item in items)'),
            ("rounded(amount * percent / 100)", "rounded(amount - amount * percent / 100)"),
        ]
    },
    "calendar": {
        "planner/spans.py": [
            ("first[0] <= second[1] and", "first[0] < second[1] and"),
            ("second[0] <= first[1]", "second[0] < first[1]"),
            ("for begin, end in spans:", "for begin, end in sorted(spans):"),
            ("(result[-1][0], end)", "(result[-1][0], max(end, result[-1][1]))"),
        ]
    },
    "ledger": {
        "ledger.py": [
            ('line.split(" ")\n    return Entry(day, kind, Decimal(amount))', 'line.split()\n'
             '        return Entry(day, kind, Decimal(amount))\n    except (ValueError, ArithmeticError):\n'
             '        raise ValueError(f"no entry: {line}") from None'),
            ("    day, kind, amount", "    try:\n        day, kind, amount"),
            ("if line]", 'if line and not line.startswith("#")]'),
            ("= entry.amount\n    return", "= sums.get(entry.kind, Decimal(0)) + entry.amount\n    return"),
        ]
    },
    "cache": {
        "lru.py": [
            ("return self._values.get(key, default)",
             "if key not in self._values:\n            return default\n"
             "        self._values[key] = self._values.pop(key)\n        return self._values[key]"),
            ("        self._values[key] = value", "        self._values.pop(key, None)\n"
             "        self._values[key] = value"),
        ],
        "remember.py": [("if not found:", "if found is None:")],
    },
    "words": {
        "words/text.py": [
            ('r"[a-z]+"', 'r"[^\\W\\d_]+(?:\'[^\\W\\d_]+)*"'),
            ("key=lambda each: each[1]", "key=lambda each: (-each[1], each[0])"),
        ],
        "words/command.py": [('"--least", default=1', '"--least", type=int, default=1')],
    },
    "settings": {
        "settings/merge.py": [
            ("result = base", "result = dict(base)"),
            ("merged(result[name], value)", "merged(result.get(name, {}), value)"),
            ('.split("_")', '.split("__")'),
            ("json.loads(value)\n", "_read(value)\n"),
            ("def load(",
             "def _read(text):\n    try:\n        return json.loads(text)\n    except ValueError:\n"
             "        return text\n\n\ndef load("),
        ]
    },
    "router": {
        "lib/router.js": [
            ("params[part] = parts[index]", "params[part.slice(1)] = decodeURIComponent(parts[index])"),
            ('path.split("/")', 'path.replace(/\\/$/, "").split("/")'),
        ],
        "lib/query.js": [
            ('text.split("&")', 'text.split("&").filter(Boolean)'),
            ("found[name] = value;", 'const told = decodeURIComponent(value ?? "");\n'
             "    found[name] = name in found ? [].concat(found[name], told) : told;"),
        ],
    },
}  # fmt: skip


def edited(case: str) -> str:
    """Return an answer of the editing model that makes the tests of a case pass."""
    folder = unpacked(shipped_path("coding-agent").parent / "repositories" / f"{case}.tree")
    blocks = []
    for file, changes in EDITS[case].items():
        text = after = (folder / file).read_text(encoding="utf-8")
        for old, new in changes:
            assert after.count(old) == 1, (case, old)
            after = after.replace(old, new)
        blocks.append(f"### {file}\n````\n<<<<<<< SEARCH\n{text}=======\n{after}>>>>>>> REPLACE\n````\n")
    return "\n".join(blocks)


def scored(name: str, session: Session, script: Any, cases: list[str] | None = None) -> Report:
    suite = read_suite(shipped_path(name))
    suite = suite if cases is None else suite.only(cases)
    with ScriptedModel(script) as model, using(model):
        return summarise(run_suite(suite, ready_graph(str(suite.graph)).compile(), session))


def means(report: Report) -> dict[str, float | None]:
    return {metric.name: metric.mean for metric in report.metrics}


EVERY = bool(os.environ.get("STEPGRAPH_TEST_EVERY_CASE"))
CASES = [
    case
    for case in EDITS
    if (EVERY or case in ("shop", "cache", "router")) and (case != "router" or shutil.which("node"))
]


def test_right_edits_pass_the_tests_and_each_roles_tokens_are_told(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPGRAPH_SANDBOX", "limits")
    half = {"shop"}  # which is repaired in a second round
    suite = read_suite(shipped_path("coding-agent"))
    tasks = {case.id: str(case.input["task"]) for case in suite.cases}

    def answer(request: Any, context: Any) -> Any:
        prompt = "\n".join(str(message["content"]) for message in request.messages)
        (case,) = [name for name, task in tasks.items() if task in prompt]
        if context.step == "ask":
            return {"ranges": [{"file": file, "start": 1, "end": 60} for file in EDITS[case]]}
        if context.step != "edit":
            return "Look at what the tests name."
        if case in half and "Changed so far" not in prompt and "was not taken" not in prompt:
            return "I do not know."
        return edited(case)

    report = scored("coding-agent", session, answer, CASES)
    assert [trial.error for trial in report.bad if trial.status != "done"] == []
    found = means(report)
    assert (found["completed"], found["tests"], found["right files"]) == (1.0, 1.0, 1.0)
    assert found["first try"] is not None
    assert found["first try"] < 1
    assert report.roles["edit"].calls == len(CASES) + 1
    assert sum(cost.tokens for cost in report.roles.values()) == report.cost.tokens
    text = as_text(sections(report))
    main = sum(cost.tokens for role, cost in report.roles.items() if role in ("plan", "edit"))
    assert "main agent: plan, edit" in text
    assert any(
        line.split()[:2] == ["main", "agent"] and line.split()[-1] == str(main) for line in text.splitlines()
    )


@pytest.mark.parametrize("name", ["coding-search", "coding-compress", "coding-apply"])
def test_the_workers_alone_score_full_marks_without_a_model(session: Session, name: str) -> None:
    suite = read_suite(shipped_path(name))
    check_suite(suite, target_of(ready_graph("coding-agent").compile(), suite.node))
    report = scored(name, session, [])
    assert [(trial.case, trial.status, trial.error) for trial in report.bad] == []
    assert (report.outcome, set(means(report).values()), report.cost.calls) == ("passed", {1.0}, 0)


@pytest.mark.parametrize("text", ["", "x = 1\n", "=== ../x.py\nx\n", "=== /x.py\nx\n"])
def test_what_is_no_tree_of_files_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.tree").write_text(text)
    with pytest.raises(InputError, match=r"x\.tree"):
        unpacked(tmp_path / "x.tree")
