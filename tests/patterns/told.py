"""A model server that knows which thread asks, by what the thread is about."""

from __future__ import annotations

import json
from collections import Counter, defaultdict

from stepgraph import ToolCall

from ..servers import Answer, ChatServer
from .cases import Script
from .living import label, threads

FOREVER_S = 3600.0


class Told:
    """Answers each thread by a script of its own, and counts what each one asks, and what is answered.

    While it is `holding`, a thread about `name@4` gets three answers. The first draft of one about `failing…`
    is refused.
    """

    def __init__(self, server: ChatServer) -> None:
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.holding = True
        self._server = server
        self._scripts: defaultdict[str, Script] = defaultdict(Script)
        self._refused: set[str] = set()
        server.decide = self._decide

    def _decide(self) -> Answer:
        body = self._server.bodies[-1]
        told = any(message["role"] == "tool" for message in body["messages"])
        prompt = next(str(m["content"]) for m in body["messages"] if m["role"] == "user")
        verb, thread = prompt.split()[:2]
        self.asked[thread] += 1
        number = thread.partition("@")[2]
        if self.holding and number and self.asked[thread] >= int(number):
            return Answer(delay_s=FOREVER_S)
        self.answered[thread] += 1
        if verb == "Write" and thread.startswith("failing") and thread not in self._refused:
            self._refused.add(thread)
            return Answer("", finish_reason="content_filter")
        said = self._scripts[thread].answer(prompt, told=told)
        if isinstance(said, ToolCall):
            return Answer(tool_calls=((said.name, json.dumps(said.arguments)),))
        return Answer(json.dumps({"answer": said}) if "response_format" in body else str(said))

    def is_still(self, committed: int) -> bool:
        """Tell whether each thread has a call under way in which it is to be killed, and nothing else."""
        held = (label(*thread) for thread in threads())
        return all(self.asked[thread] > self.answered[thread] for thread in held) and (
            self.answered.total() == committed
        )
