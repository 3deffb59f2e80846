"""What openevals brings: rubrics for judges, and the matching of tool calls. The adapter of openevals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...state.errors import InputError, did_you_mean
from ..files.located import INSTALL_HELP
from ..suite.model import EvaluatorInput, Score
from .evaluators import Where

PREFIX = "openevals:"
SUFFIX = "_PROMPT"
PLACES = {
    "inputs": "the exhibit's input",
    "outputs": "the exhibit's output",
    "reference_outputs": "the exhibit's expected",
    "context": "the exhibit's input",
}


def rubric_named(text: str) -> str:
    """Return a rubric of openevals for a name such as "openevals:correctness", any other text as it is.

    Raises InputError for a name that openevals does not have.
    """
    if not text.startswith(PREFIX):
        return text
    try:
        from openevals import prompts
    except ImportError:
        raise InputError(f"{text!r} needs openevals. {INSTALL_HELP}") from None
    known = [n.removesuffix(SUFFIX).lower() for n in prompts.__all__ if n.endswith(SUFFIX)]
    name = text.removeprefix(PREFIX)
    if name not in known:
        raise InputError(f"openevals has no rubric {name!r}. {did_you_mean(name, known)}")
    rubric: str = getattr(prompts, f"{name.upper()}{SUFFIX}")
    return re.sub(r"\{(\w+)\}", lambda match: f"({PLACES.get(match[1], match[1])})", rubric)


@dataclass(frozen=True, kw_only=True)
class Messages(Where):
    """A list of chat messages that calls the expected tools, in OpenAI's form.

    match and arguments as in openevals: strict, unordered, subset, superset; exact, ignore, subset,
    superset.
    """

    match: Literal["strict", "unordered", "subset", "superset"] = "strict"
    arguments: Literal["exact", "ignore", "subset", "superset"] = "exact"

    async def score(self, inputs: EvaluatorInput) -> Score:
        try:
            from openevals import create_async_trajectory_match_evaluator
        except ImportError:
            return Score.unscored(f"messages need openevals. {INSTALL_HELP}")
        match: Any = create_async_trajectory_match_evaluator(
            trajectory_match_mode=self.match, tool_args_match_mode=self.arguments
        )
        if not isinstance(inputs.actual, list) or not all(isinstance(m, Mapping) for m in inputs.actual):
            return Score.of(False, "expected a list of messages")
        try:
            result = await match(
                outputs=[_as_openai(message) for message in inputs.actual],
                reference_outputs=[_as_openai(message) for message in inputs.expected],
            )
        except (KeyError, TypeError, ValueError) as error:
            return Score.unscored(f"these messages cannot be compared: {type(error).__name__}: {error}")
        return Score.of(bool(result["score"]), f"the tool calls differ ({self.match} match)")


def _as_openai(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message in OpenAI's form; LangChain's own says type for role."""
    roles = {"human": "user", "ai": "assistant"}
    role = message.get("role") or roles.get(str(message.get("type")), message.get("type"))
    return {**message, "role": role, "content": message.get("content") or ""}
