"""What a session keeps in this process begins anew in a forked child."""

from __future__ import annotations

from stepgraph import Session
from stepgraph.state.journal.call_commits import CallCommits
from stepgraph.state.journal.claims import Claims
from stepgraph.state.journal.forking import tracked
from stepgraph.state.journal.reservations import Reservations


def test_what_a_session_keeps_is_told_of_a_fork(session: Session) -> None:
    before = set(map(id, tracked()))
    with Session(session.database):
        new = {type(each) for each in tracked() if id(each) not in before}
    assert {Reservations, Claims, CallCommits} <= new
