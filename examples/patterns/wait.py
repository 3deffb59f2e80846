"""An invitation, and three days later a reminder. The run waits in the file; no process sleeps meanwhile."""

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from stepgraph import Session, chain, due, resume, wait


@dataclass
class Guest:
    name: str
    mails: str = ""


def invite(guest: Guest) -> dict[str, str]:
    print(f"to {guest.name}: come to the party")
    return {"mails": "invited"}


def remind(guest: Guest) -> dict[str, str]:
    print(f"to {guest.name}: the party is soon")
    return {"mails": "reminded"}


app = chain(invite, wait(until=timedelta(days=3)), remind).compile()

if __name__ == "__main__":
    file = Path(tempfile.mkdtemp()) / "guests.sqlite"
    now = datetime(2026, 3, 1, tzinfo=UTC)
    with Session(file, clock=lambda: now) as session:
        (question,) = app.invoke(Guest("Ada"), session.config("ada"))["__interrupt__"]
        print("waits until", question.value["due"])

    now += timedelta(days=3)
    with Session(file, clock=lambda: now) as session:  # a cron job: stepgraph resume --due
        for item in due(session):
            resume(app, session, item.thread_id)
