"""A process that stands still between the record of an effect and the effect."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Session, chain, effect
from stepgraph.nodes import effects
from stepgraph.state.errors import ClaimLost


@dataclass
class Mail:
    to: str = "Ada"
    receipt: str = ""


@pytest.mark.parametrize("store", ["file", "postgres_url"])
@pytest.mark.parametrize("form", ["sync", "async"])
@pytest.mark.parametrize("decided", [False, True], ids=["nobody decided", "somebody decided"])
async def test_an_effect_does_not_happen_once_its_run_has_lost_the_thread(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    store: str,
    decided: bool,
    form: str,
) -> None:
    """Somebody may have asked the receiver meanwhile, and another worker sends it."""
    database: Any = tmp_path / "runs.sqlite" if store == "file" else request.getfixturevalue(store)
    sent: list[str] = []

    def send(mail: Mail) -> dict[str, str]:
        sent.append(mail.to)
        return {"receipt": "sent"}

    async def asend(mail: Mail) -> dict[str, str]:
        return send(mail)

    begin = effects.begin_effect
    with Session(database) as slow, Session(database) as other:

        async def begun(*args: Any, **options: Any) -> Any:
            started = await begin(*args, **options)
            other.claims.end("t", [slow.claims.worker_name()])
            slow.claims._renew_all()  # as it does where its claim is older than it lives
            if decided:
                other.decide_effect(started.key, happened=False)
            return started

        graph = chain(effect(send if form == "sync" else asend)).compile()
        monkeypatch.setattr(effects, "begin_effect", begun)
        with pytest.raises(ClaimLost):
            await graph.ainvoke(Mail(), slow.config("t"))
        assert sent == []
        assert other.undecided_effects() == []
        monkeypatch.setattr(effects, "begin_effect", begin)
        assert (await graph.ainvoke(None, other.config("t")))["receipt"] == "sent"
        assert sent == ["Ada"]
