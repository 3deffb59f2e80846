"""Runs code in a sandbox, and looks for its processes."""

from __future__ import annotations

import asyncio
import sys

import pytest

from stepgraph.nodes.sandboxes import Limits, SandboxResult, run_python

linux = pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap is for Linux")


def run(code: str, limits: Limits | None = None, *, isolated: bool = True) -> SandboxResult:
    return asyncio.run(run_python({"main.py": code}, "main.py", limits, isolated=isolated))
