"""All that may be a part of a pattern: functions with more parameters, patterns, compiled graphs."""

from dataclasses import dataclass, field
from typing import Any, Literal, assert_type

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command

from stepgraph import (
    Ask,
    Choice,
    Step,
    Workflow,
    agent,
    chain,
    effect,
    gate,
    nearest,
    refine,
    route,
    rule,
    step,
)
from stepgraph.nodes.effects import Effect

Topic = Literal["billing", "technical"]


@dataclass
class Ticket:
    body: str
    topic: Topic | None = None
    level: int = 0
    problems: list[str] = field(default_factory=list)
    answer: str = ""


@step("answer")
def reply(ticket: Ticket) -> Ask[str]:
    return Ask(ticket.body)


@step("level")
def level(ticket: Ticket) -> Ask[int]:
    return Ask(ticket.body)


@effect(key=lambda ticket: ticket.body)
def post(ticket: Ticket, key: str) -> dict[str, str]:
    return {"answer": key}


@effect
async def log(ticket: Ticket) -> None:
    return None


assert_type(post, Effect[Ticket])
assert_type(log, Effect[Ticket])
assert_type(chain(reply, post, log), Workflow[Ticket])


# Plain LangGraph node functions


def fetch(ticket: Ticket) -> dict[str, Any]:
    return {"body": ticket.body.strip()}


def fetch_with_config(ticket: Ticket, config: RunnableConfig) -> dict[str, Any]:
    return {"body": f"{config.get('run_name')} {ticket.body}"}


async def fetch_with_runtime(ticket: Ticket, runtime: Runtime[None]) -> dict[str, Any]:
    return {"body": f"{runtime.context} {ticket.body}"}


def fetch_with_both(ticket: Ticket, config: RunnableConfig, runtime: Runtime[None]) -> dict[str, Any]:
    return {"body": f"{config.get('run_name')} {runtime.context} {ticket.body}"}


def jump(ticket: Ticket) -> Command[str]:
    return Command(update={"level": len(ticket.body)})


async def draft(ticket: Ticket) -> dict[str, Any]:
    return {"answer": (await reply.answer(ticket)).upper()}


assert_type(chain(fetch, fetch_with_config, fetch_with_runtime, fetch_with_both, reply), Workflow[Ticket])
assert_type(chain(reply, jump), Workflow[Ticket])
assert_type(chain(draft), Workflow[Ticket])


# Rules, and functions that judge or classify


@rule("problems")
def check(ticket: Ticket) -> list[str]:
    return [] if len(ticket.answer) < 500 else ["too long"]


def length(ticket: Ticket) -> int:
    return len(ticket.answer)


def has_level(ticket: Ticket) -> bool:
    return ticket.level > 0


def by_length(ticket: Ticket) -> Literal["long", "short"]:
    return "long" if len(ticket.body) > 100 else "short"


def by_word(ticket: Ticket) -> Topic | None:
    return "billing" if "invoice" in ticket.body else None


def by_doubt(ticket: Ticket) -> Choice[Topic]:
    return Choice(label=by_word(ticket), confidence=0.5, reason="a word")


@rule("topic")
def by_rule(ticket: Ticket) -> Topic:
    return by_word(ticket) or "technical"


polish = refine(reply, check, until=lambda problems: not problems, rounds=2, score=lambda found: -len(found))
assert_type(polish, Workflow[Ticket])
assert_type(refine(reply, length, until=lambda size: size < 500, rounds=2), Workflow[Ticket])
assert_type(refine(polish, level, until=lambda found: found > 2, rounds=2), Workflow[Ticket])
assert_type(refine(draft, check, until=lambda found: found == [], rounds=2), Workflow[Ticket])
assert_type(route(by_length, {"long": polish, "short": reply}), Workflow[Ticket])
assert_type(route(by_word, {"billing": polish}, fallback=reply), Workflow[Ticket])
assert_type(route(by_rule, {"billing": polish, "technical": reply}), Workflow[Ticket])
assert_type(route(by_doubt, {"billing": polish}, fallback=reply, min_confidence=0.7), Workflow[Ticket])


# Classifiers with a label, a doubt and a reason


@dataclass
class Chosen:
    body: str
    choice: Choice[Topic] | None = None
    answer: str = ""


@step("choice")
def classify(chosen: Chosen) -> Ask[Choice[Topic]]:
    return Ask(chosen.body)


@step("answer")
def reply_chosen(chosen: Chosen) -> Ask[str]:
    return Ask(chosen.body)


assert_type(classify, Step[Chosen, Choice[Topic]])
assert_type(
    route(classify, {"billing": reply_chosen, "technical": reply_chosen}, fallback=reply_chosen),
    Workflow[Chosen],
)


EXAMPLES: dict[Topic, list[str]] = {"billing": ["charged twice"], "technical": ["it does not start"]}


@nearest(EXAMPLES, writes="topic")
def topic(ticket: Ticket) -> str:
    return ticket.body


@nearest({"billing": ["charged twice"], "technical": ["it does not start"]})
def plain_topic(ticket: Ticket) -> str:
    return ticket.body


support = route(
    topic, {"billing": polish, "technical": chain(fetch, reply)}, fallback=reply, min_confidence=0.4
)
assert_type(support, Workflow[Ticket])
assert_type(route(plain_topic, {"billing": reply, "technical": polish}), Workflow[Ticket])


# Agents


def look_up(order: str) -> str:
    """Look an order up."""
    return order


assert_type(agent(reply, tools=[look_up], once={"look_up": lambda given: given["order"]}), Workflow[Ticket])
assert_type(chain(fetch, agent(level, tools=[look_up], approve=["look_up"])), Workflow[Ticket])

# Patterns in patterns, compiled graphs, and patterns in a graph written by hand

compiled = support.compile()
nested = chain(fetch, compiled, refine(compiled, level, until=lambda found: found == 1, rounds=2))
assert_type(nested, Workflow[Ticket])
assert_type(chain(compiled, reply, name="again"), Workflow[Ticket])
assert_type(route(by_length, {"long": compiled, "short": gate(has_level)}), Workflow[Ticket])


def strip(state: Ticket) -> dict[str, Any]:  # LangGraph's own types want the name `state`
    return {"body": state.body.strip()}


graph = StateGraph(Ticket)
graph.add_node("strip", strip)
graph.add_node("reply", reply)
graph.add_node("support", compiled)
graph.add_edge(START, "strip")
graph.add_edge("strip", "reply")
graph.add_edge("reply", "support")
graph.add_edge("support", END)
assert_type(chain(graph.compile(), reply), Workflow[Ticket])


async def ask(ticket: Ticket, chosen: Chosen) -> None:
    assert_type(await topic.answer(ticket), Choice[Topic])
    assert_type((await classify.answer(chosen)).label, Topic | None)
    assert_type(await check.answer(ticket), list[str])
    assert_type(check(ticket), list[str])
