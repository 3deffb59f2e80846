"""What waits for a person, as the pages show it: the question with its whole value, nothing cut or hidden."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from ..state.journal.jobs import given_answers
from ..state.json_text import json_text
from ..state.session.session import Session
from ..tracing.record.pending import Waiting, is_review, is_wait, longest_interrupted, read_waiting
from ..tracing.record.text import plain
from .forms import Entry, entries_of
from .texts import Text, text_of

KNOWN: tuple[str, ...] = (
    "kind",
    "review",
    "question",
    "field",
    "value",
    "decisions",
    "schema",
    "path",
    "due",
)
KNOWN += ("to", "asked", "escalates", "again", "problem")
MOST = 50  # threads that are looked at for the list of all that waits


@dataclass(frozen=True)
class PendingQuestion:
    """One question to a person."""

    waiting: Waiting

    @property
    def thread_id(self) -> str:
        return self.waiting.thread_id

    @property
    def id(self) -> str:
        return self.waiting.id

    @property
    def since(self) -> float:
        return self.waiting.since

    @property
    def path(self) -> str:
        return self.waiting.path

    @property
    def due(self) -> datetime | None:
        return _time(self.details.get("due")) if self.is_review else self.waiting.due

    @property
    def anchor(self) -> str:
        """Where it stands on a page; ids of questions are their threads' own, so that both count."""
        named = f"{self.thread_id}\n{self.id}"
        return f"ask-{hashlib.sha256(named.encode('utf-8', 'replace')).hexdigest()[:16]}"

    @property
    def is_review(self) -> bool:
        return is_review(self.waiting.value)

    @property
    def is_wait(self) -> bool:
        """Tell whether it waits for a time, and asks nobody."""
        return is_wait(self.waiting.value)

    @cached_property
    def details(self) -> Mapping[str, Any]:
        """What the review says of itself; nothing for a question of another kind."""
        return self.waiting.value if self.is_review else {}

    @property
    def question(self) -> str:
        if self.is_review:
            return str(self.details.get("question") or "")
        value = self.waiting.value
        return value if isinstance(value, str) else ""

    @property
    def field(self) -> str:
        return str(self.details.get("field") or "value")

    @property
    def value(self) -> Any:
        """What is decided on; of a question of another kind, all that it says."""
        return self.details.get("value") if self.is_review else self.waiting.value

    @property
    def schema(self) -> Mapping[str, Any]:
        schema = self.details.get("schema")
        return schema if isinstance(schema, Mapping) else {}

    @property
    def entries(self) -> list[Entry]:
        """The form in which the value is changed."""
        return entries_of(self.schema, self.value, self.field)

    @property
    def decisions(self) -> Sequence[str]:
        names = self.details.get("decisions")
        return [each for each in names if isinstance(each, str)] if isinstance(names, list) else ()

    @property
    def problem(self) -> str:
        """Why the last answer was not taken."""
        return str(self.details.get("problem") or "")

    @property
    def escalates(self) -> datetime | None:
        """When the next one is asked."""
        return _time(self.details.get("escalates"))

    @property
    def asked_before(self) -> list[tuple[str, str]]:
        """Who was asked before, and when."""
        earlier = self.details.get("asked")
        known = [each for each in earlier if isinstance(each, Mapping)] if isinstance(earlier, list) else []
        return [(str(each.get("to")), str(each.get("at"))) for each in known]

    @cached_property
    def shown(self) -> Text:
        """The value, whole."""
        return text_of("value", plain(self.value), whole=True)

    @cached_property
    def rest(self) -> Text | None:
        """What else it says, which nothing here is made of."""
        more = {str(name): value for name, value in self.details.items() if name not in KNOWN}
        return text_of("rest", plain(more), whole=True) if more else None

    @property
    def digest(self) -> str:
        """What tells what is shown from anything else that the same question could say."""
        shown = json_text([self.question, self.field, plain(self.value), self.problem, self.to])
        return hashlib.sha256(shown.encode("utf-8", "replace")).hexdigest()[:32]

    @property
    def to(self) -> str:
        """Whom it asks, nothing where it asks anybody."""
        return str(self.details.get("to") or "")


@dataclass(frozen=True)
class Waits:
    """What waits for a person, the oldest first; `more` says that not all threads were looked at."""

    items: Sequence[PendingQuestion] = ()
    more: bool = False

    @property
    def count(self) -> str:
        number = len(self.items)
        return str(number) if not self.more else f"{number} or more" if number else "Some"


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):  # of a record that somebody damaged
        return None


def is_given(session: Session, question: PendingQuestion) -> bool:
    """Tell whether a question of a thread that workers run has its answer, which none has taken yet."""
    return question.id in given_answers(session.journal, question.thread_id)


def read_waits(session: Session) -> Waits:
    """Return what waits for a person in the threads that have waited longest.

    So many are looked at, not all: each takes a look at its checkpoint. A damaged one hides no other.
    """
    threads = longest_interrupted(session, MOST + 1)
    waits = [item for thread in threads[:MOST] for item in waits_of(session, thread) if not item.is_wait]
    return Waits(sorted(waits, key=lambda item: (item.since, item.thread_id)), len(threads) > MOST)


def waits_of(session: Session, thread_id: str) -> list[PendingQuestion]:
    """Return what one thread asks a person, or waits for; nothing where its record is damaged."""
    try:
        return [PendingQuestion(item) for item in read_waiting(session, thread_id)]
    except Exception:  # whatever a damaged row leads to; `stepgraph pending` tells
        return []
