"""The embedding classifier: which label's examples a text resembles most. No model call, no cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, Literal

from langchain_core.runnables import RunnableConfig
from langgraph.typing import StateT
from typing_extensions import TypeVar

from ..providers.embedding import embed
from ..state.errors import DefinitionError
from ..state.event_loops import in_thread
from ..state.schema import StateType, caller_names, signature_types
from .ask import Choice
from .node import AnswerNode, Update
from .steps import check_writes

L = TypeVar("L", bound=Hashable)

# Chosen by leave-one-out over the support desk's example phrases: the least log loss.
SHARPNESS = 22.0
NEIGHBOURS = 3
# How similar a text is to phrases that have nothing to do with it: the rival of every label.
BACKGROUND = 0.15


@dataclass(eq=False, repr=False)
class Nearest(AnswerNode[StateT, Choice[L]], Generic[StateT, L]):
    """One graph node that finds the label whose examples are nearest to a text. Made by `nearest`."""

    function: Callable[[StateT], str]
    labels: Mapping[L, Sequence[str]]
    writes: str | None
    state: StateType

    def __post_init__(self) -> None:
        self.__doc__ = self.function.__doc__
        self.name = self.function.__name__

    @cached_property
    def _examples(self) -> list[tuple[L, list[float]]]:
        pairs = [(label, text) for label, texts in self.labels.items() for text in texts]
        vectors = embed([text for _, text in pairs])
        return [(label, vector) for (label, _), vector in zip(pairs, vectors, strict=True)]

    def classify(self, text: str) -> Choice[L]:
        """Return the nearest label with its confidence; no label for a text without words."""
        if not any(character.isalnum() for character in text):
            return Choice(label=None, confidence=0.0, reason="the text has no words")
        (vector,) = embed([text])
        similar: dict[L, list[float]] = {label: [] for label in self.labels}
        for label, example in self._examples:
            similar[label].append(sum(a * b for a, b in zip(vector, example, strict=True)))
        scores = {label: _mean_of_best(values) for label, values in similar.items()}
        ranked = sorted(scores, key=lambda label: scores[label], reverse=True)
        rivals = [*scores.values(), BACKGROUND]
        best = scores[ranked[0]]
        confidence = 1 / sum(math.exp(SHARPNESS * (rival - best)) for rival in rivals)
        shown = ", ".join(f"{label} {scores[label]:.2f}" for label in ranked[:3])
        return Choice(label=ranked[0], confidence=confidence, reason=f"similarity: {shown}")

    async def answer(self, state: StateT, config: RunnableConfig | None = None) -> Choice[L]:
        return await in_thread(self.classify, self.function(state))

    def update(self, value: Choice[L]) -> Update:
        return {} if self.writes is None or value.label is None else {self.writes: value.label}


def nearest(
    labels: Mapping[L, Sequence[str]], *, writes: str | None = None
) -> Callable[[Callable[[StateT], str]], Nearest[StateT, L]]:
    """Make an embedding classifier of a function from the state to the text that is classified.

    `labels` maps each label to example texts, five or more for good results. `writes` names a state
    field that takes the label. The embeddings ship in the package wordllama: 0.2 ms a text.

        @nearest({"billing": ["I was charged twice"], "technical": ["It does not turn on"]})
        def topic(ticket: Ticket) -> str:
            return ticket.body
    """
    if not labels or any(isinstance(t, str) or not t for t in labels.values()):
        raise DefinitionError(
            'nearest needs labels with a list of example texts each: {"billing": ["charged twice", …]}.'
        )
    namespace = caller_names()

    def decorate(function: Callable[[StateT], str]) -> Nearest[StateT, L]:
        state, _ = signature_types(function, namespace)
        if writes is not None:
            check_writes(function.__name__, state, writes, Literal[tuple(labels)])
        return Nearest(function, labels, writes, state)

    return decorate


def _mean_of_best(values: Sequence[float]) -> float:
    best = sorted(values)[-NEIGHBOURS:]
    return sum(best) / len(best)
