"""A conversation that collects what a booking needs, a person who approves the reply in time, and one e-mail.

stepgraph run examples/intake.py:intake --thread ada -i '{"messages": [{"type": "human", "content": "…"}]}'
"""

import tempfile
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.graph.message import add_messages
from pydantic import BaseModel

from stepgraph import Ask, ScriptedModel, Session, chain, effect, resume, review, route, run, step, using

OUTBOX: list[str] = []  # stands for a mail server


class Booking(BaseModel):
    name: str = ""
    email: str = ""
    day: str = ""


@dataclass
class Intake:
    messages: Annotated[list[AnyMessage], add_messages] = field(default_factory=list)
    booking: Booking = field(default_factory=Booking)
    mail: str = ""
    status: str = ""


@step("booking")
def understand(intake: Intake) -> Ask[Booking]:
    known = intake.booking.model_dump_json()
    return Ask(f"Known: {known}\nAdd what this says, and keep the rest:\n{intake.messages[-1].content}")


def missing(intake: Intake) -> list[str]:
    return [name for name, value in intake.booking.model_dump().items() if not value]


def progress(intake: Intake) -> Literal["complete", "incomplete"]:
    return "incomplete" if missing(intake) else "complete"


def ask_back(intake: Intake) -> dict[str, list[AnyMessage]]:
    return {"messages": [AIMessage(f"Please tell me your {' and your '.join(missing(intake))}.")]}


@step("mail")
def write(intake: Intake) -> Ask[str]:
    return Ask(f"Confirm this booking in two sentences: {intake.booking.model_dump_json()}")


@review("mail", deadline=timedelta(hours=4))
def approve(intake: Intake) -> str:
    return f"Send this to {intake.booking.email}?"


@effect(key=lambda intake: f"{intake.booking.email} {intake.booking.day}")
def send(intake: Intake) -> dict[str, str]:
    OUTBOX.append(f"to {intake.booking.email}: {intake.mail}")
    return {"status": "sent"}


def decline(intake: Intake) -> dict[str, str]:
    return {"status": "declined"}


def call_the_guest(intake: Intake) -> dict[str, str]:
    return {"status": "nobody answered in time: call the guest"}


decided = route(approve, {"approved": send, "rejected": decline, "expired": call_the_guest})
intake = chain(
    understand,
    route(progress, {"complete": chain(write, decided), "incomplete": ask_back}),
    name="intake",
)

if __name__ == "__main__":
    app = intake.compile()
    replies = {
        "understand": [{"name": "Ada"}, {"name": "Ada", "email": "ada@example.org", "day": "Friday"}],
        "write": ["See you, Ada!"],
    }
    file = Path(tempfile.mkdtemp()) / "intake.sqlite"
    with Session(file) as session, ScriptedModel(replies) as model, using(model):
        first = run(app, {"messages": [HumanMessage("I am Ada.")]}, session, "ada")
        print(first.values["messages"][-1].content)
        run(app, {"messages": [HumanMessage("Friday, ada@example.org")]}, session, "ada")
        print(resume(app, session, "ada", answer="approve").values["status"], OUTBOX)
