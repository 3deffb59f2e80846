"""Two runs side by side, from the first step that differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..tracing.record.diff import Pair, paired
from ..tracing.record.run import Run
from ..tracing.record.spans import Span
from .steps import StepView, step_view
from .waterfalls import note_of

SAME_AROUND = 200  # characters shown of what is the same before and after a difference
LONGEST = 4000
GIVEN = ("input",)  # what differs between two steps that did the same with different inputs


@dataclass(frozen=True)
class Side:
    """A text: what it shares with the other one at its beginning and end, and what differs between."""

    start: str
    differs: str
    end: str


@dataclass(frozen=True)
class Contrast:
    """One thing about a step that is not the same in both; None where a run does not have it."""

    name: str
    a: Side | None
    b: Side | None


@dataclass(frozen=True)
class Comparison:
    """Two runs, their steps in pairs, and one of the pairs in full.

    `first` is the first pair that differs in anything, `parted` the first in which a step did something else.
    """

    a: Run
    b: Run
    pairs: Sequence[Pair]
    chosen: Pair | None
    views: tuple[StepView | None, StepView | None]
    contrasts: Sequence[Contrast]
    same: Sequence[str]
    first: Pair | None
    parted: Pair | None

    def note(self, pair: Pair, side: str) -> str:
        """Return in a few words what the step of one side did, nothing where that run did not make it."""
        run, span = (self.a, pair.a) if side == "a" else (self.b, pair.b)
        return "" if span is None else note_of(run, span)


def compare(a: Run, b: Run, at: int | None = None) -> Comparison:
    """Compare two runs, and show the pair `at` in full.

    Without it, the first in which a step did something else; or, if none did, was given something else.
    """
    pairs = list(paired(a.spans, b.spans))
    first = next((pair for pair in pairs if pair.what), None)
    parted = next((pair for pair in pairs if pair.what and pair.what != GIVEN), first)
    chosen = pairs[at] if at is not None and 0 <= at < len(pairs) else parted
    views = (None, None) if chosen is None else (_view(a, chosen.a), _view(b, chosen.b))
    rows = list(_contrasts(*views)) if chosen is not None else []
    return Comparison(
        a=a,
        b=b,
        pairs=pairs,
        chosen=chosen,
        views=views,
        contrasts=[item for item in rows if isinstance(item, Contrast)],
        same=[item for item in rows if isinstance(item, str)],
        first=first,
        parted=parted,
    )


def _view(run: Run, span: Span | None) -> StepView | None:
    return None if span is None else step_view(run, span.id)


def _contrasts(a: StepView | None, b: StepView | None) -> Iterator[Contrast | str]:
    """Yield what differs, and the names of what does not."""
    mine, theirs = dict(_facts(a)), dict(_facts(b))
    for name in dict.fromkeys((*mine, *theirs)):
        one, other = mine.get(name), theirs.get(name)
        if one == other:
            yield name
        else:
            yield Contrast(name, *_sides(one, other))


def _facts(view: StepView | None) -> Iterator[tuple[str, str]]:
    """Yield what can be compared about a step, in the order in which it happened."""
    if view is None:
        return
    for item in view.fields:
        if item.before is not None:
            yield f"given {item.name}", item.before.whole
    for number, call in enumerate(view.answers):
        which = f"call {number + 1}: " if len(view.answers) > 1 else ""
        yield f"{which}model", call.span.model
        for place, message in enumerate(call.messages):
            yield f"{which}prompt {place + 1}, {message.role}", message.text.whole
        answered = {"reasoning": call.reasoning, "answer": call.answer, "tools": call.tool_calls}
        for name, text in answered.items():
            if text is not None:
                yield f"{which}{name}", text.whole
        if call.row["problem"]:
            yield f"{which}problem", call.row["problem"]
    if view.span.decision:
        for name in ("choice", "confidence", "reason"):
            if view.span.decision[name] is not None:
                yield f"decision: {name}", str(view.span.decision[name])
    for item in view.fields:
        if item.after is not None:
            yield f"wrote {item.name}", item.after.whole
    yield "status", view.span.status
    if view.span.error:
        yield "error", view.span.error


def _sides(a: str | None, b: str | None) -> tuple[Side | None, Side | None]:
    if a is None or b is None:
        return _whole(a), _whole(b)
    least = min(len(a), len(b))
    start = next((n for n in range(least) if a[n] != b[n]), least)
    end = next((n for n in range(least - start) if a[-1 - n] != b[-1 - n]), least - start)
    start = _to_space(a, start)
    end = min(_to_space(a[::-1], end), least - start)
    return _side(a, start, end), _side(b, start, end)


def _to_space(text: str, at: int) -> int:
    """Return the beginning of the word at a place, so that whole words are marked."""
    while 0 < at < len(text) and not text[at - 1].isspace():
        at -= 1
    return at


def _whole(text: str | None) -> Side | None:
    return None if text is None else _side(text, 0, 0)


def _side(text: str, start: int, end: int) -> Side:
    before, middle, after = text[:start], text[start : len(text) - end], text[len(text) - end :]
    if len(before) > SAME_AROUND:
        before = "…" + before[-SAME_AROUND:]
    if len(middle) > LONGEST:
        middle = f"{middle[:LONGEST]}… ({len(middle)} characters)"
    if len(after) > SAME_AROUND:
        after = after[:SAME_AROUND] + "…"
    return Side(before, middle, after)
