"""A Prefect flow that hands runs to stepgraph's workers, and waits for them.

    STEPGRAPH_DB=postgresql://… python prefect_flow.py Ada Grace

Prefect needs the database alone: neither the graph nor a model's key. A task that Prefect tries again finds
its run by the thread's name, goes on with it, and pays for nothing twice.
"""

import asyncio
import os
import sys

from prefect import flow, task
from prefect.runtime import flow_run

from stepgraph import asubmit


@task(retries=3, retry_delay_seconds=1)
async def letter(to: str) -> str:
    run = await asubmit(
        "letter.py:app",
        {"to": to},
        db=os.environ["STEPGRAPH_DB"],
        on=os.environ.get("STEPGRAPH_ON"),
        thread_id=f"letter-{flow_run.get_id()}-{to}",
    )
    result = await run.aresult(timeout_s=3600)
    return str(result.values["text"])


@flow
async def letters(names: list[str]) -> list[str]:
    return list(await asyncio.gather(*(letter(name) for name in names)))


if __name__ == "__main__":
    print(*asyncio.run(letters(sys.argv[1:])), sep="\n")
