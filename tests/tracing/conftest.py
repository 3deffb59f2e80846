"""However slow the machine is, a session of these tests sends what it has when it is closed."""

from __future__ import annotations

import pytest

from stepgraph.tracing.export import live


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "CLOSE_S", 60.0)
    monkeypatch.setattr(live, "ANSWER_S", 60.0)
