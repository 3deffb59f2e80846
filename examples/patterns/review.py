"""A person approves, rejects or edits. The run waits in the file, over restarts, until somebody answers."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from langgraph.types import Command

from stepgraph import Ask, ScriptedModel, Session, chain, refine, review, step, using


@dataclass
class Mail:
    to: str
    text: str = ""
    why: str = ""
    sent: bool = False


@step("text")
def write(mail: Mail) -> Ask[str]:
    fix = f" Fix this: {mail.why}" if mail.why else ""
    return Ask(f"Write to {mail.to}.{fix}")


@review("text", reason="why")
def approve(mail: Mail) -> str:
    return f"Send this to {mail.to}?"


def send(mail: Mail) -> dict[str, bool]:
    print(f"to {mail.to}: {mail.text}")
    return {"sent": True}


# A rejection's reason reaches the next draft.
app = chain(refine(write, approve, until=lambda verdict: verdict.approved, rounds=3), send).compile()

if __name__ == "__main__":
    file = Path(tempfile.mkdtemp()) / "mails.sqlite"
    with Session(file) as session, ScriptedModel(["Hi.", "Dear Ada, hello!"]) as model, using(model):
        (question,) = app.invoke(Mail("Ada"), session.config("mail-1"))["__interrupt__"]
        print(question.value["question"], question.value["value"])
        answer = {"decision": "reject", "reason": "too curt", "by": "grace"}
        (question,) = app.invoke(Command(resume=answer), session.config("mail-1"))["__interrupt__"]
        print(question.value["question"], question.value["value"])

    with Session(file) as session:  # days later, in another process
        answer = {"decision": "edit", "value": "Dear Ada, hello.", "by": "grace"}
        app.invoke(Command(resume=answer), session.config("mail-1"))
