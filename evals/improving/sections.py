"""What a search for a better prompt says, as sections for terminal, Markdown and HTML, and as a diff."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import unified_diff

from ...state.money import shown
from ..report.sections import Section, comparison_sections, money
from .improve import Improvement
from .plan import ImprovePlan, least_decisive


def plan_lines(plan: ImprovePlan) -> list[str]:
    """Return what is going to be done, and what it may cost."""
    own = plan.budget
    limits = [
        *([f"{own.calls} calls"] if own.calls is not None else []),
        *([f"${shown(own.usd)}"] if own.usd is not None else []),
        *([f"{own.tokens} tokens"] if own.tokens is not None else []),
    ]
    fewest = least_decisive(plan.level)
    return [
        f"The prompt of {plan.node}, measured by {plan.metric}: {len(plan.searched)} cases to search on, "
        f"{len(plan.held_out)} held out (seed {plan.seed}), {plan.repeats} x each, {plan.rounds} rounds.",
        f"It costs at most {' and '.join(limits)}, and at least {plan.least_calls} calls without the search.",
        f"The test can say better if at least {fewest} held-out cases gain and none loses.",
    ]


def prompt_diff(improvement: Improvement, *, file: str = "prompt") -> str:
    """Return how the prompt to take differs from the one in the code; "" if it is the same."""
    old, new = (f"{text}\n".splitlines() for text in (improvement.old.text, improvement.tried.text))
    return "\n".join(unified_diff(old, new, f"{file} (as it is)", f"{file} (new)", lineterm=""))


def improve_sections(improvement: Improvement) -> list[Section]:
    """Return the verdict, the prompt and the comparison."""
    compared = [] if improvement.comparison is None else comparison_sections(improvement.comparison)
    return [_head(improvement), *_prompt(improvement), *compared]


def _head(improvement: Improvement) -> Section:
    titles = {
        "better": f"Better: {improvement.plan.node} has a prompt that held-out cases prefer",
        "not better": f"Not better: the prompt of {improvement.plan.node} stays as it is",
        "unfinished": "PARTIAL: nothing can be said yet",
    }
    lines = [
        f"Why: {improvement.why}.",
        f"{improvement.plan.metric} on the cases of the search: {improvement.before:.3f} as it is, "
        f"{improvement.after:.3f} with the best of {improvement.candidates} new prompts, "
        f"in {improvement.rounds} rounds.",
    ]
    if improvement.verdict == "unfinished":
        lines.append("Go on with the same command and --run under a larger budget; nothing is paid twice.")
    lines.append(f"it cost {money(improvement.cost)}")
    return Section(titles[improvement.verdict], tuple(lines))


def _prompt(improvement: Improvement) -> Iterator[Section]:
    diff = prompt_diff(improvement)
    if not diff:
        return
    what = "system message" if improvement.old.part == "system" else "prompt"
    title = (
        f"The new {what}"
        if improvement.verdict == "better"
        else f"The best {what} that was found, not to be taken"
    )
    note = ("It is added as a system message.",) if improvement.old.adds else ()
    yield Section(title, (*note, *diff.splitlines()))
