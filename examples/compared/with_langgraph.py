"""Invoice extraction with plain LangGraph."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, Self, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from pydantic import BaseModel, Field, model_validator

TRIES = 3


class Line(BaseModel):
    what: str
    amount: Decimal


class Invoice(BaseModel):
    number: str
    day: date
    lines: list[Line] = Field(min_length=1)
    total: Decimal

    @model_validator(mode="after")
    def adds_up(self) -> Self:
        added = sum(line.amount for line in self.lines)
        if added != self.total:
            raise ValueError(f"the lines add up to {added}, not to the total of {self.total}")
        return self


class Letter(TypedDict):
    text: str
    messages: Annotated[list[AnyMessage], add_messages]
    tries: int
    invoice: Invoice | None
    problem: str


def build(model: BaseChatModel, saver: BaseCheckpointSaver[Any]) -> Any:
    structured = model.with_structured_output(Invoice, method="function_calling", include_raw=True)

    def ask(state: Letter) -> dict[str, Any]:
        return {"messages": [HumanMessage(f"Read this invoice:\n{state['text']}")], "tries": 0}

    def read(state: Letter) -> dict[str, Any]:
        answer: Any = structured.invoke(state["messages"])
        invoice: Invoice | None = answer["parsed"]
        problem = "" if invoice else str(answer["parsing_error"] or "there is no invoice.")
        if invoice and invoice.number not in state["text"]:
            problem = f"the number {invoice.number!r} does not stand there."
            invoice = None
        calls = answer["raw"].tool_calls or answer["raw"].invalid_tool_calls
        replies: list[Any] = [ToolMessage(problem, tool_call_id=call["id"]) for call in calls]
        messages = [answer["raw"], *(replies or [HumanMessage(problem)])]
        update = {"invoice": invoice, "problem": problem, "tries": state["tries"] + 1}
        return {**update, "messages": messages}

    def again(state: Letter) -> Literal["read", "__end__"]:
        return "read" if state["problem"] and state["tries"] < TRIES else "__end__"

    graph = StateGraph(Letter)
    graph.add_node("ask", ask)
    graph.add_node("read", read)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", "read")
    graph.add_conditional_edges("read", again)
    return graph.compile(checkpointer=saver)


def read_invoice(text: str, app: Any, thread: str) -> Letter:
    letter: Letter = app.invoke({"text": text}, {"configurable": {"thread_id": thread}})
    return letter
