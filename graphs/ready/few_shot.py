"""Few-shot prompts: small models copy a shown pattern better than they follow an instruction."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage


def few_shot(examples: Iterable[tuple[str, Any]], prompt: str) -> list[BaseMessage]:
    """Return the examples, each a prompt and its answer, and then the prompt, as a conversation.

    An answer that is no text goes as JSON, a list in the form in which a model answers with one.
    """
    messages: list[BaseMessage] = []
    for shown, answer in examples:
        data = {"answer": answer} if isinstance(answer, list) else answer
        text = data if isinstance(data, str) else json.dumps(data)
        messages += [HumanMessage(shown), AIMessage(text)]
    return [*messages, HumanMessage(prompt)]
