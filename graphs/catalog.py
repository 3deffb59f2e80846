"""The ready graphs, by the names that the command line knows."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..state.errors import InputError, did_you_mean
from .workflow import Workflow

READY = {
    "code": "coding.coder",
    "contract-review": "contracts.reviewer",
    "device-first": "device.questions",
    "dialogue": "dialogue.chat",
    "document-processing": "documents.processor",
    "extraction": "extraction.extractor",
    "marketing-email": "campaigns.mailing",
    "product-description": "products.describer",
    "research": "research.study",
    "resume-screener": "resumes.screener",
    "sentiment": "sentiment.voting",
    "summary": "summary.document",
    "support-agent": "assistant.agent",
    "support-desk": "support.desk",
}


def ready_graph(name: str) -> Workflow[Any]:
    """Return a ready graph. Raises InputError for an unknown name."""
    if name not in READY:
        raise InputError(f"There is no ready graph {name!r}. {did_you_mean(name, READY)}")
    graph: Workflow[Any] = import_module(f".{READY[name]}", __package__).graph
    return graph
