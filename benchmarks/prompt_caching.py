"""32 branches over one prefix of 20,000 tokens: how much of the input the provider reads from its cache.

    python -m benchmarks.prompt_caching

The server caches as the providers do: a prompt is there for others once the first token of its answer is
sent, in blocks of 1,024 tokens and then 128 more each. Every answer begins after a second. One round asks all
at once, with the document in each prompt; the other gives it as the prefix.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from typing import Any

from stepgraph import Ask, fan_out, step, using
from stepgraph.providers.stack.stack import forget_endpoints
from tests.caching_server import CHARS, CachingServer

FIRST_TOKEN_S = 1.0
DOCUMENT = "".join(f"Clause {number}: nobody owes anybody anything. " for number in range(3000))


@dataclass
class Question:
    number: int
    document: str
    answer: str = ""


@dataclass
class Contract:
    count: int
    document: str
    questions: list[Question] = field(default_factory=list)


def split(contract: Contract) -> list[Question]:
    return [Question(number, contract.document) for number in range(contract.count)]


@step("answer")
def all_at_once(question: Question) -> Ask[str]:
    return Ask(f"{question.document}\n\nWhat does clause {question.number} say?")


@step("answer")
def with_prefix(question: Question) -> Ask[str]:
    return Ask(f"What does clause {question.number} say?", prefix=question.document)


def measure(worker: Any, branches: int, tokens: int) -> tuple[float, float, int]:
    """Return the share of the input that was read from the cache, the seconds, and the calls."""
    forget_endpoints()
    app = fan_out(split, worker, into="questions").compile()
    with CachingServer(FIRST_TOKEN_S) as server, using(server.spec()):
        began = time.perf_counter()
        app.invoke(Contract(branches, DOCUMENT[: tokens * CHARS]))
        return server.share, time.perf_counter() - began, len(server.bodies)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--branches", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=20_000, help="of the prefix")
    options = parser.parse_args()
    measure(all_at_once, 1, 10)  # imports
    seconds = {}
    for name, worker in (("all at once", all_at_once), ("prefix=", with_prefix)):
        share, seconds[name], calls = measure(worker, options.branches, options.tokens)
        print(f"{name:12} {share:6.1%} of the input from the cache, {seconds[name]:.2f} s, {calls} calls")
    more = (seconds["prefix="] - seconds["all at once"]) / FIRST_TOKEN_S
    print(f"prefix= took {more:.2f} times the delay of a first token more")


if __name__ == "__main__":
    main()
