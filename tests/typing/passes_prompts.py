"""Managed prompts: text or messages, by the fallback; and answers that code judges."""

from dataclasses import dataclass
from typing import assert_type

from stepgraph import Ask, step
from stepgraph.tracing.export.prompts import ChatPrompt, ManagedPrompt, TextPrompt, managed


@dataclass
class Mail:
    body: str
    team: str = ""


triage = managed("triage", fallback="Which team? {{body}}")
talk = managed("talk", version=3, fallback=[("user", "{{body}}")])

assert_type(triage, ManagedPrompt[TextPrompt])
assert_type(talk(body="x"), ChatPrompt)


@step("team")
def classify(mail: Mail) -> Ask[str]:
    return Ask(triage(body=mail.body))


@step("team")
def ask(mail: Mail) -> Ask[str]:
    return Ask(talk(body=mail.body))


@step("team")
def checked(mail: Mail) -> Ask[str]:
    return Ask("…", check=lambda team: team in mail.body or f"{team!r} is not in the mail.")


def is_known(team: str) -> bool | str | None:
    return None if team == "shop" else "no such team."


@step("team")
def checked_by_name(mail: Mail) -> Ask[str]:
    return Ask("…", check=is_known)
