"""Orchestrator: a model plans the parts of a report, workers write them at once, one step joins them."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import BaseModel
from pydantic.json_schema import SkipJsonSchema

from stepgraph import Ask, ScriptedModel, orchestrate, step, using


class Part(BaseModel):
    title: str
    text: SkipJsonSchema[str] = ""  # the worker's, so the planner is not asked for it


@dataclass
class Report:
    subject: str
    plan: list[Part] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    text: str = ""


@step("plan", model="large")
def outline(report: Report) -> Ask[list[Part]]:
    return Ask(f"Two to four parts of a short report on {report.subject}, each about something else.")


@step("text", model="small")
def write(part: Part) -> Ask[str]:
    return Ask(f"One sentence on: {part.title}")


@step("text", model="large")
def combine(report: Report) -> Ask[str]:
    return Ask("Make one paragraph of these parts:\n" + "\n".join(part.text for part in report.parts))


app = orchestrate(outline, write, combine, into="parts", max_items=4).compile()


def main() -> None:
    answers = {
        "outline": [
            [{"title": "How tea grows"}, {"title": "how tea grows"}],  # overlapping: asked for again
            [{"title": "How tea grows"}, {"title": "What tea costs"}],
        ],
        "write": ["It grows on hills.", "It costs little."],
        "combine": ["Tea grows on hills and costs little."],
    }
    with using(ScriptedModel(answers)):  # or: using("local"), using("openai:gpt-5-mini")
        result = app.invoke(Report("tea"))
    print([part.title for part in result["parts"]])
    print(result["text"])


if __name__ == "__main__":
    main()
