"""What pg_dump has of a session is enough: restored elsewhere, its threads go on, and pay nothing again."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cluster.postgres import PostgresServer, find_programs
from stepgraph import ScriptedModel, Session, resume, run

from ..runners.engines.flows import Mail, asking

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("cluster")]


def test_a_dump_of_its_schema_goes_on_in_another_database(
    postgres_server: PostgresServer, postgres_url: str, tmp_path: Path
) -> None:
    asked: Counter[str] = Counter()

    def answer(request: Any, context: Any) -> str:
        asked[str(request.messages[-1]["content"])] += 1
        return "fine"

    app, model = asking.compile(), ScriptedModel(answer)
    with Session(postgres_url, models=model) as session:
        assert run(app, Mail("Ada"), session, "one").status == "interrupted"
    programs, dump = find_programs(), tmp_path / "runs.dump"
    assert programs is not None
    other = postgres_server.lend()
    for command in (
        [programs / "pg_dump", "-Fc", "-n", "stepgraph", "-f", dump, postgres_url],
        [programs / "pg_restore", "--exit-on-error", "-d", other, dump],
    ):
        subprocess.run(command, check=True, capture_output=True)
    with Session(other, models=model) as session:
        result = resume(app, session, "one", answer="approve")
        assert (result.status, result.spent.calls) == ("done", 2)
        assert run(app, Mail("Bob"), session, "two").status == "interrupted"
    postgres_server.take_back(other)
    assert asked == {"Write to Ada": 1, "Seal Ada": 1, "Write to Bob": 1}
