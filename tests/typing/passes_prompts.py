"""Managed prompts: text or messages, by the fallback."""

from dataclasses import dataclass
from typing import assert_type

from stepgraph import Ask, step
from stepgraph.tracing.export.prompts import Managed, Messages, Text, managed


@dataclass
class Mail:
    body: str
    team: str = ""


triage = managed("triage", fallback="Which team? {{body}}")
talk = managed("talk", version=3, fallback=[("user", "{{body}}")])

assert_type(triage, Managed[Text])
assert_type(talk(body="x"), Messages)


@step("team")
def classify(mail: Mail) -> Ask[str]:
    return Ask(triage(body=mail.body))


@step("team")
def ask(mail: Mail) -> Ask[str]:
    return Ask(talk(body=mail.body))
