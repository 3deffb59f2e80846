"""Where a test's own Python process looks for modules."""

from __future__ import annotations

import os
from pathlib import Path

import stepgraph


def child_path(*folders: str | Path) -> str:
    """Return a PYTHONPATH: these folders, this stepgraph, and what the tests themselves were given."""
    home = Path(stepgraph.__file__).parents[1]
    given = os.environ.get("PYTHONPATH")
    return os.pathsep.join([*map(str, folders), str(home), *([given] if given else [])])
