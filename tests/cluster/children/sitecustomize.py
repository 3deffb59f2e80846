"""Makes every Python process of a test keep its sessions in Postgres, if STEPGRAPH_TEST_POSTGRES says where.

The folder of this file is in PYTHONPATH then. Nothing is imported before the process itself does.
"""

from __future__ import annotations

import hashlib
import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

VARIABLE = "STEPGRAPH_TEST_POSTGRES"
# The modules in which a database's name becomes the database.
MODULES = ("stepgraph.state.journal.opening", "stepgraph.tracing.record.query")


def schema_of(path: Path) -> str:
    """Return the schema that stands for a file."""
    return f"t_{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:20]}"


def switch(module: ModuleType, url: str, prepare: Any = lambda schema: None) -> None:
    """Let a module find a schema of Postgres where a file is named."""
    named = module.database_of

    def database_of(name: Any) -> Any:
        database = named(name)
        if not isinstance(database, Path):
            return database
        schema = schema_of(database)
        prepare(schema)
        return named(f"{url}?schema={schema}")

    module.database_of = database_of  # type: ignore[attr-defined]


class _Switching(MetaPathFinder):
    def __init__(self) -> None:
        self._left = set(MODULES)

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname not in self._left:
            return None
        self._left.remove(fullname)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                load(module)
                switch(module, os.environ[VARIABLE])

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if os.environ.get(VARIABLE) and __name__ == "sitecustomize":
    sys.meta_path.insert(0, _Switching())
