"""Runs graphs of one process, each stopped by a signal and then resumed, and prints what it saw as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stepgraph import Ask, ScriptedModel, Session, arun, chain, fan_out, run, step, using
from stepgraph.errors import ClaimLost

ITEMS, ANSWERED = 8, 5
FORMS: dict[str, Callable[[Any, Any, Session], Any]] = {
    "run": lambda app, state, session: run(app, state, session, "t"),
    "arun": lambda app, state, session: asyncio.run(arun(app, state, session, "t")),
    "invoke": lambda app, state, session: app.invoke(state, session.config("t")),
    "ainvoke": lambda app, state, session: asyncio.run(app.ainvoke(state, session.config("t"))),
    "stream": lambda app, state, session: list(app.stream(state, session.config("t"))),
}


@dataclass
class Item:
    number: int
    text: str = ""


@dataclass
class Note:
    text: str = ""
    late: str = ""
    items: list[Item] = field(default_factory=list)


def split(note: Note) -> list[Item]:
    return [Item(number) for number in range(ITEMS)]


@step("text")
def each(item: Item) -> Ask[str]:
    return Ask(f"item {item.number}")


def asking(number: int) -> Any:
    def ask(note: Note) -> Ask[str]:
        return Ask(f"question {number}")

    ask.__name__ = f"ask{number}"
    return step("text")(ask)


@step("late")
def ask_late(note: Note) -> Ask[str]:
    return Ask("asked by a node that goes on")


class Wakes:
    """Interrupts what the main thread waits in, again and again, and counts how often it woke.

    A signal that comes right before a wait begins does not end it: Python hears of it when it wakes.
    """

    count = 0

    @classmethod
    def begin(cls) -> None:
        def woken(*_: Any) -> None:
            cls.count += 1

        def wake() -> None:
            while True:
                time.sleep(0.1)
                send(signal.SIGWINCH)

        signal.signal(signal.SIGWINCH, woken)
        threading.Thread(target=wake, daemon=True).start()

    @classmethod
    def heard(cls) -> Callable[[], bool]:
        """Return what tells whether the main thread has heard of all that was sent until now."""
        enough = cls.count + 2  # the first may have been under way before
        return lambda: cls.count >= enough


def send(number: int) -> None:
    """Send a signal as from outside: the system then gives it to the main thread."""
    signal.pthread_kill(threading.main_thread().ident or 0, number)


class StopsAt:
    """Answers some questions; once they are on record, sends the signal, if any, and answers the rest later.

    It has the name of the model that goes on: a node may be stopped between its answer and its end, and
    then its answer is found again.
    """

    name = ScriptedModel.name

    def __init__(self, session: Session, number: int | None, answers: int, rest_s: float) -> None:
        self._session, self._number, self._left, self._rest_s = session, number, answers, rest_s
        self._script = ScriptedModel(lambda *_: "paid")
        self._answers = answers

    async def complete(self, request: Any, context: Any) -> Any:
        if self._left:
            self._left -= 1
            return await self._script.complete(request, context)
        number, self._number = self._number, None
        if number is not None:
            while len(answered(self._session)) < self._answers:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            send(number)
            is_heard = Wakes.heard()
            while not is_heard():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await asyncio.sleep(self._rest_s)
        return await self._script.complete(request, context)


def answered(session: Session) -> list[str]:
    rows = session.journal.query("SELECT messages FROM calls WHERE status = 'answered'")
    return sorted(json.loads(row["messages"])[-1]["content"] for row in rows)


class Lingers:
    """A plain node that is stopped in a thread, and there goes on to ask."""

    def __init__(self, number: int, rest_s: float) -> None:
        self._number, self._runs, self._rest_s = number, 0, rest_s
        self.go_on, self.is_over = threading.Event(), threading.Event()
        self.told = "nothing"

    def work(self, note: Note) -> dict[str, str]:
        self._runs += 1
        try:
            if self._runs == 1:
                send(self._number)
                is_heard = Wakes.heard()
                while not is_heard():
                    time.sleep(0.01)
                self.go_on.wait(self._rest_s)
            return ask_late.invoke(note)
        except ClaimLost:
            self.told = "ClaimLost"
            raise
        finally:
            self.is_over.set()


def stopped(shape: str, form: str, number: int, folder: str) -> dict[str, Any]:
    """Stop one run, and go on with it."""
    # LangGraph's own sync stream waits for what is under way; all else is called off.
    rest_s = 1 if form == "stream" else 30
    lingers = Lingers(number, rest_s)
    graphs = {
        "chain": lambda: chain(*map(asking, range(4))),
        "fan": lambda: fan_out(split, each, into="items"),
        "thread": lambda: chain(asking(0), lingers.work, asking(1)),
    }
    app = graphs[shape]().compile()
    seen: dict[str, Any] = {"code": 0}
    with Session(f"{folder}/{shape}-{form}-{number}.sqlite") as session:
        answers = {"chain": 2, "fan": ANSWERED, "thread": 1}[shape]
        try:
            signalled = None if shape == "thread" else number  # there the plain node sends it
            with using(StopsAt(session, signalled, answers, rest_s)):
                FORMS[form](app, Note(), session)
        except KeyboardInterrupt:
            seen["code"] = 130
        except SystemExit as stop:
            seen["code"] = stop.code
        seen["claims"] = session.journal.query("SELECT count(*) AS n FROM claims WHERE expires_at > 0")[0][
            "n"
        ]
        seen["status"] = session.journal.query("SELECT status FROM runs")[0]["status"]
        paid = answered(session)
        lingers.go_on.set()
        if shape == "thread":
            lingers.is_over.wait(30)
            seen["late"] = "not asked" if answered(session) == paid else lingers.told
        model = ScriptedModel(lambda *_: "paid")
        with using(model):
            FORMS[form](app, None, session)
        asked = [request.messages[-1]["content"] for _, request in model.asks]
        seen |= {"paid": len(paid), "twice": sorted({*paid} & {*asked}), "asked": len(asked)}
        seen["whole"] = len(answered(session))
        seen["restored"] = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    return seen


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background process ignores it
    Wakes.begin()
    signals = [getattr(signal, name) for name in sys.argv[2].split(",")]
    for number in signals:
        for form in FORMS:
            for shape in ("chain", "fan", "thread"):
                seen = stopped(shape, form, number, sys.argv[1])
                print(json.dumps([f"{number.name} {form} {shape}", seen]), flush=True)
    os._exit(0)  # whatever a stopped node still does is not waited for
