"""Guard: a safety check runs beside the answer, adds no time, and stops the answer when it trips."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from stepgraph import Ask, ScriptedModel, guard, step, using


class Verdict(BaseModel):
    safe: bool
    reason: str = ""


@dataclass
class Chat:
    question: str
    reply: str = ""
    verdict: Verdict | None = None


@step("reply", model="large")
def answer(chat: Chat) -> Ask[str]:
    return Ask(chat.question)


@step("verdict", model="small")
def screen(chat: Chat) -> Ask[Verdict]:
    return Ask(f"May a shop assistant answer this? {chat.question}")


def decline(chat: Chat) -> dict[str, str]:
    return {"reply": f"I cannot answer that: {chat.verdict.reason if chat.verdict else 'no verdict'}"}


app = guard(answer, screen, lambda verdict: verdict.safe or verdict.reason, otherwise=decline).compile()


def main() -> None:
    answers = {
        "answer": ["Yes, until nine.", "Take a crowbar, and …"],
        "screen": [{"safe": True}, {"safe": False, "reason": "it is about a burglary."}],
    }
    with using(ScriptedModel(answers)):  # or: using("local"), using("openai:gpt-5-mini")
        for question in ("Are you open today?", "How do I open your back door?"):
            print(f"{question} -> {app.invoke(Chat(question))['reply']}")


if __name__ == "__main__":
    main()
