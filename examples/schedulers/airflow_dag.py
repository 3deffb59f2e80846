"""An Airflow task that hands a run to stepgraph's workers, and waits for it without holding a slot.

Put it among your DAGs; `RunEnded` has to be importable where the triggerer runs: install it, or put it among
the plugins. STEPGRAPH_DB names the database; Airflow needs neither the graph nor a model's key. A task that
Airflow tries again finds its run by the thread's name, goes on with it, and pays for nothing twice.
"""

import os
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from airflow.sdk import DAG, BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

from stepgraph import asubmitted, submit, submitted
from stepgraph.errors import InputError, RunFailed


def place() -> dict[str, Any]:
    return {"db": os.environ["STEPGRAPH_DB"], "on": os.environ.get("STEPGRAPH_ON")}


class RunEnded(BaseTrigger):
    """Waits in the triggerer until a run has ended, or waits for a person."""

    def __init__(self, thread: str) -> None:
        super().__init__()
        self.thread = thread

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.{type(self).__name__}", {"thread": self.thread}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        with suppress(RunFailed):  # the task tells of it
            await (await asubmitted(self.thread, **place())).aresult()
        yield TriggerEvent(self.thread)


class StepgraphRun(BaseOperator):
    """Runs a graph on stepgraph's workers, and returns one field of its state."""

    template_fields = ("state",)

    def __init__(self, *, graph: str, state: dict[str, Any], field: str, **options: Any) -> None:
        super().__init__(**options)
        self.graph, self.state, self.field = graph, state, field

    def execute(self, context: Any) -> Any:
        thread = f"{self.dag_id}-{self.task_id}-{context['run_id']}"
        submit(self.graph, self.state, thread_id=thread, **place())
        self.defer(trigger=RunEnded(thread), method_name="ended")

    def ended(self, context: Any, event: str) -> Any:
        result = submitted(event, **place()).result()
        if result.status != "done":
            raise InputError(f"The run {event} stands at {result.status}: stepgraph show {event}")
        return result.values[self.field]


with DAG("letters", schedule=None) as dag:
    StepgraphRun(
        task_id="letter",
        graph="letter.py:app",
        state={"to": "{{ params.to }}"},
        field="text",
        params={"to": "Ada"},
    )
