"""Researches a question: a plan of sub-questions, a worker that looks each up, and a report that cites.

stepgraph run examples/research.py:research -i question="What does it cost to send tea back?"
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from langchain_core.documents import Document
from pydantic import BaseModel
from pydantic.json_schema import SkipJsonSchema

from stepgraph import (
    Ask,
    Budget,
    Passage,
    ScriptedModel,
    chain,
    check_citations,
    gate,
    orchestrate,
    render_passages,
    retrieve,
    step,
    using,
    within,
)


class Part(BaseModel):
    question: str
    passages: SkipJsonSchema[list[Passage]] = []
    finding: SkipJsonSchema[str] = ""


@dataclass
class Study:
    question: str
    plan: list[Part] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    lacking: list[Part] = field(default_factory=list)
    report: str = ""


def find(query: str) -> list[Document]:
    """The files that have a long word of the query; a vector store's retriever fits, too."""
    words = re.findall(r"\w{5,}", query.lower())
    files = sorted(Path(__file__).with_name("handbook").glob("*.md"))
    matches = [file for file in files if any(word in file.read_text("utf-8").lower() for word in words)]
    return [Document(file.read_text("utf-8"), metadata={"source": file.name}) for file in matches]


@step("plan", model="large")
def plan(study: Study) -> Ask[list[Part]]:
    return Ask(f"Which two to four questions must be answered to answer this one?\n{study.question}")


@retrieve("passages", find, k=2)
def search(part: Part) -> str:
    return part.question


@step("finding", model="small")
def answer(part: Part) -> Ask[str]:
    return Ask(f"{render_passages(part.passages)}\nAnswer from these passages: {part.question}")


def all_passages(study: Study) -> list[Passage]:
    return [passage for part in study.parts for passage in part.passages]


@step("report", model="large")
def write(study: Study) -> Ask[str]:
    findings = "\n".join(f"{part.question} {part.finding}" for part in study.parts)
    return Ask(f"{render_passages(all_passages(study))}\n{findings}\nAnswer, citing [1]: {study.question}")


@step("lacking", model="large")
def lacks(study: Study) -> Ask[list[Part]]:
    return Ask(f"Which questions are still open? None, if this answers it.\n{study.question}\n{study.report}")


def grounded(study: Study) -> bool | str:
    return check_citations(study.report, all_passages(study))


look_up = chain(search, answer, name="look_up")
study = orchestrate(plan, look_up, write, into="parts", more=lacks, rounds=2, failed="skip", name="study")
research = chain(within(study, Budget(calls=20), name="bounded"), gate(grounded, repair=write))

if __name__ == "__main__":
    answers = {
        "plan": [[{"question": "Who pays for returns?"}, {"question": "What does shipping cost?"}]],
        "answer": ["A label lies in the parcel.", "4.90 euros, above 50 euros nothing."],
        "write": ["A label lies in every parcel.", "A label lies in every parcel [1]."],
        "lacks": [[]],
    }
    with ScriptedModel(answers) as model, using(model):
        print(research.compile().invoke(Study("What does it cost to send something back?"))["report"])
