"""What the process that `warm` forks from has imported: all that a usual command needs."""

from __future__ import annotations

import stepgraph

for _name in stepgraph.__all__:
    getattr(stepgraph, _name)
