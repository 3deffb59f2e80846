"""Names of a package that are imported when they are first used: a program loads only what it needs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return the `__getattr__` and the `__dir__` of a package (PEP 562), and its `__all__`.

    `homes` has the names of each module, which is relative to the package: `{".nodes.ask": "Ask Choice"}`.
    """
    module = sys.modules[package]
    anchor = package if hasattr(module, "__path__") else package.rpartition(".")[0]
    home_of = {name: home for home, names in homes.items() for name in names.split()}

    def load(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(home_of[name], anchor), name)
        setattr(module, name, value)
        return value

    return load, lambda: sorted({*vars(module), *home_of}), sorted(home_of)
