"""Agent: the model looks things up as it needs to; an e-mail waits for a person and is sent once."""

from dataclasses import dataclass
from tempfile import TemporaryDirectory

from langgraph.types import Command

from stepgraph import Ask, ScriptedModel, Session, ToolCall, agent, chain, run, step, using


@dataclass
class Ticket:
    body: str
    reply: str = ""


@step("reply", model="large")
def help_out(ticket: Ticket) -> Ask[str]:
    return Ask(ticket.body, system="You work in a shop. Look things up, do not guess.")


def find_order(order: str) -> str:
    """Tell where an order is."""
    return f"Order {order} arrives on Friday."


async def send_email(to: str, text: str) -> str:
    """Send an e-mail."""
    print(f"sent to {to}: {text}")
    return "sent"


def sign(ticket: Ticket) -> dict[str, str]:
    return {"reply": f"{ticket.reply} Yours, the shop."}


helper = agent(help_out, tools=[find_order, send_email], turns=4, approve=["send_email"], once=["send_email"])
app = chain(helper, sign).compile()


def main() -> None:
    model = ScriptedModel(  # or: model = "openai:gpt-5-mini"
        [
            ToolCall("find_order", {"order": "SG-7"}),
            ToolCall("send_email", {"to": "ada@example.com", "text": "Friday."}),
            "It comes on Friday; I have written to Ada.",
        ]
    )
    with TemporaryDirectory() as folder, Session(f"{folder}/runs.sqlite") as session, using(model):
        question = run(app, Ticket("Tell Ada when SG-7 comes."), session, "t").waiting[0].value
        print(f"{question['question']} {question['value']}")
        print(run(app, Command(resume="approve"), session, "t").values["reply"])


if __name__ == "__main__":
    main()
