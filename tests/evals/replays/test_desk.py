"""The support desk's runs through a desk with another prompt; desk.py counts the same for 200 runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from .desk import campaign


def test_only_what_comes_after_the_change_is_paid_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPGRAPH_OUTBOX", str(tmp_path))  # put back afterwards
    outcome = campaign(8, tmp_path, anew=False)
    assert outcome.effects == 0
    assert set(outcome.asked) == {"changed"}
    assert outcome.asked["changed"] == outcome.report.paid.calls == outcome.expected > 0
    assert all(case.stopped is None for case in outcome.report.cases)
