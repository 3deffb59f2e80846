"""What the shipped suites measure in code. All values are plain, as JSON has them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...graphs.ready.text_checks import is_quoted, plain, strange_numbers
from ..suite.model import Score

SHORT_WORDS = 130
OPPOSITES = {"positive": "negative", "negative": "positive"}


def tests_passed(report: Mapping[str, Any] | None) -> tuple[float, str]:
    """Give the share of the tests that passed."""
    if report is None:
        return 0.0, "no test ran"
    share = report["passed"] / report["total"]
    return share, "" if share == 1 else str(report["failures"])[:200]


def no_strange_numbers(text: str, values: Mapping[str, Any]) -> Score:
    """Tell whether all numbers of a summary stand in what it summarises."""
    passages = [str(passage["text"]) for passage in values.get("passages") or ()]
    strange = strange_numbers(re.sub(r"\[[\d\s-]+\]", "", text), *passages)
    return Score.of(bool(text.strip()) and not strange, f"the text does not say {', '.join(strange)}")


def is_short(text: str) -> tuple[bool, str]:
    """Tell whether there is a text of at most SHORT_WORDS words."""
    words = len(text.split())
    return 0 < words <= SHORT_WORDS, f"{words} words"


def cites(cited: Sequence[str], expected: str) -> tuple[bool, str]:
    """Tell whether the file with the answer is among the sources that a report cites."""
    return any(f"[{expected}:" in source for source in cited), f"it cites {'; '.join(cited) or 'nothing'}"


def found_in(findings: Sequence[Mapping[str, Any]], expected: str) -> tuple[bool, str]:
    """Tell whether a passage of the file with the answer was found for any of the sub-questions."""
    labels = [source["label"] for finding in findings for source in finding["found"]]
    there = any(label.startswith(f"{expected}:") for label in labels)
    return there, f"found: {', '.join(labels) or 'nothing'}"


def not_opposite(sentiment: str, expected: str) -> tuple[bool, str]:
    """Tell whether a text is at least not called the opposite of what it is."""
    return sentiment != OPPOSITES[expected], f"called {sentiment}"


def value_among(values: Mapping[str, str], expected: Sequence[str]) -> tuple[bool, str]:
    """Tell whether the only field has one of the values that count as right; spaces in it do not count."""
    got = next(iter(values.values()), "")
    right = {plain(value).replace(" ", "") for value in expected}
    return plain(got).replace(" ", "") in right, f"got {got!r}"


def names_found(values: Mapping[str, Any], expected: Mapping[str, Sequence[str]]) -> tuple[float, str]:
    """Give the share of the expected names that became records of their kind."""
    missed = []
    count = 0
    for kind, names in expected.items():
        plain_names = {plain(record["name"]).strip(" .,") for record in values.get(kind) or ()}
        missed += [name for name in names if plain(name) not in plain_names]
        count += len(names)
    return 1 - len(missed) / count, f"missed: {', '.join(missed)}" if missed else ""


def quotes_hold(values: Mapping[str, Any]) -> tuple[float, str] | None:
    """Give the share of a review's remarks that quote what the contract says; None where there are none."""
    count = sum(len(values.get(name) or ()) for name in ("legal", "financial", "technical"))
    left_out = list(values.get("left_out") or ())
    if not count + len(left_out):
        return None
    return count / (count + len(left_out)), "; ".join(left_out)


def conflicts_named(summary: str, values: Mapping[str, Any]) -> tuple[bool, str]:
    """Tell whether the summary names every clause on which perspectives differ."""
    clauses = [conflict["clause"] for conflict in values.get("conflicts") or ()]
    lost = [str(clause) for clause in clauses if not re.search(rf"\b{clause}\b", summary)]
    return not lost, f"it does not name clause {', '.join(lost)}"


def no_invented_numbers(values: Mapping[str, Any]) -> tuple[bool, str]:
    """Tell whether a text that was released has no number which its facts do not have."""
    email = values.get("email") or {}
    text = str(values.get("text") or email.get("body") or "")
    facts = [
        str(values.get("name") or values.get("product")),
        *(values.get("facts") or values.get("offer") or ()),
    ]
    strange = strange_numbers(text, *facts)
    return values.get("status") == "held" or not strange, f"the facts do not say {', '.join(strange)}"


def evidence_holds(explanation: Sequence[str], input: Mapping[str, Any]) -> tuple[bool, str]:
    """Tell whether every line of a résumé that a decision rests on stands in it."""
    quoted = [quote for line in explanation for quote in re.findall(r'by "([^"]+)"', line)]
    strange = [quote for quote in quoted if not is_quoted(quote, str(input["resume"]))]
    return not strange, f"the résumé does not say {'; '.join(strange)}"


def is_not_invited(decision: str) -> tuple[bool, str]:
    """Tell whether somebody who does not show everything is left to a person."""
    return decision in ("check", "hold"), f"decided: {decision}"


def tells(answer: str, expected: str) -> tuple[bool, str]:
    """Tell whether an answer has the expected words or number in it."""
    match = re.search(
        rf"(?<![\w.,]){re.escape(plain(expected))}(?![\w]|[.,]\d)", plain(answer).replace("$", "")
    )
    return match is not None, f"got {answer[:100]!r}"


def right_or_held(answer: str, values: Mapping[str, Any], expected: str) -> tuple[bool, str]:
    """Tell whether what was not held for a person is right."""
    return values.get("status") == "held" or tells(answer, expected)[0], f"released {answer[:100]!r}"


def says_something(text: str) -> bool:
    """Tell whether there is a text at all."""
    return bool(text.strip())


def used_tools(_: str, path: Sequence[str], expected: bool) -> tuple[bool, str]:
    """Tell whether an agent used its tools, or kept from it, as it should."""
    used = any(node.endswith("/tools") for node in path)
    return used == expected, "it used a tool" if used else "it used no tool"
