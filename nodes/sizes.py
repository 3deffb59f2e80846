"""How large an item is for a part: what the part's steps would send to a model."""

from __future__ import annotations

from typing import Any

from typing_extensions import is_typeddict

from ..state.json_text import json_text
from ..state.schema import StateType, values_of
from .costs import asks_in, cost_of
from .splitting import Count
from .steps import Step


class PromptSizes:
    """Measures what a part is asked about an item, in tokens, and holds it against the limit."""

    def __init__(self, tokens: int, count: Count) -> None:
        self.tokens = tokens
        self._count = count

    def of(self, part: Any, item: Any) -> int:
        """Return the size of the largest prompt that the part's steps make of the item as it is.

        A part without steps over the item counts as the item in JSON.
        """
        steps = {ask.step for ask in asks_in(cost_of(part)) if isinstance(ask.step, Step)}
        sizes = [self._prompt(step, item) for step in steps if _is_of(item, step.state)]
        return max(sizes, default=0) or self._count(json_text(values_of(item)))

    def _prompt(self, step: Step[Any, Any], item: Any) -> int:
        try:
            request = step.request(item)
        except Exception:  # a step further on, whose prompt needs what others write first
            return 0
        schema = [json_text(request.schema)] if request.schema else []
        return sum(self._count(text) for text in [*map(_content, request.messages), *schema])

    def fits(self, part: Any, item: Any) -> bool:
        return self.of(part, item) <= self.tokens


def _is_of(item: Any, state: StateType) -> bool:
    return isinstance(item, dict if is_typeddict(state) else state)


def _content(message: Any) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else json_text(content)
