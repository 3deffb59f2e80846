"""What all tests of tracing share: however slow the machine is, a session that is closed sends what it has."""

from __future__ import annotations

import pytest

from stepgraph.tracing.export import live


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "CLOSE_S", 60.0)
    monkeypatch.setattr(live, "ANSWER_S", 60.0)
