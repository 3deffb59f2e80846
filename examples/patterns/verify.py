"""A second, different model checks the first one's answer; what stays disputed goes to a stronger one."""

from dataclasses import dataclass

from pydantic import BaseModel

from stepgraph import Ask, ScriptedModel, step, using, verify


class Check(BaseModel):
    correct: bool
    why: str = ""


@dataclass
class Question:
    text: str
    answer: str = ""
    check: Check | None = None


@step("answer", model="small")
def solve(question: Question) -> Ask[str]:
    return Ask(question.text)


@step("check", model="judge")
def examine(question: Question) -> Ask[Check]:
    return Ask(f"Is this correct, and if not, why? {question.text} {question.answer}")


checked = verify(
    solve,
    examine,
    agrees=lambda check: check.correct or check.why,
    tries=1,
    otherwise=solve.on("large"),
)

if __name__ == "__main__":
    small = ScriptedModel(["41", "50"])
    judge = ScriptedModel(
        [{"correct": False, "why": "7 x 3 ends in 1, and 17 x 3 is over 45."}, {"correct": False}]
    )
    large = ScriptedModel(["51"])
    with small, judge, large, using(small=small, judge=judge, large=large):
        result = checked.compile().invoke(Question("17 x 3?"))
    print(f"The small model was told: {small.asks[1][1].messages[-1]['content']}")
    print(f"The large model's answer counts: {result['answer']}")
