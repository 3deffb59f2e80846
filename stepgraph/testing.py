"""What tests of a workflow need: a scripted model, recorded traffic, and a check of an endpoint.

A suite of cases is measured with `stepgraph.evals`; the pytest plugin collects its files by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .state.lazy_names import lazy_names

if TYPE_CHECKING:
    from .providers.model import (
        CallContext as CallContext,
        Reply as Reply,
        Request as Request,
        ToolCall as ToolCall,
        Usage as Usage,
    )
    from .providers.prices import Price as Price
    from .providers.settings import ModelSettings as ModelSettings
    from .providers.testing.conformance import ConformanceFinding as ConformanceFinding, examine as examine
    from .providers.testing.scripted import ScriptedModel as ScriptedModel
    from .providers.testing.tape import Tape as Tape
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            ".providers.model": "CallContext Reply Request ToolCall Usage",
            ".providers.prices": "Price",
            ".providers.settings": "ModelSettings",
            ".providers.testing.conformance": "ConformanceFinding examine",
            ".providers.testing.scripted": "ScriptedModel",
            ".providers.testing.tape": "Tape",
        },
    )
