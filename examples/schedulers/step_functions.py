"""An activity of AWS Step Functions: it hands its tasks to stepgraph's workers, and says how they ended.

    STEPGRAPH_DB=postgresql://… python step_functions.py arn:aws:states:…:activity:letter

In the state machine: {"Type": "Task", "Resource": "arn:…:activity:letter", "HeartbeatSeconds": 60}, with a
"Retry", and {"run.$": "$$.Execution.Name", "to.$": "$.to"} as its parameters. A task that is given again,
because this program died, finds its run by the thread's name, and pays for nothing twice.
"""

import asyncio
import json
import os
import sys
from typing import Any

import boto3
from botocore.config import Config

from stepgraph import asubmit
from stepgraph.errors import RunFailed

AT_ONCE = 50


async def work(states: Any, token: str, request: dict[str, Any]) -> None:
    run = await asubmit(
        "letter.py:app",
        {"to": request["to"]},
        db=os.environ["STEPGRAPH_DB"],
        on=os.environ.get("STEPGRAPH_ON"),
        thread_id=f"letter-{request['run']}",
    )
    ended = asyncio.ensure_future(run.aresult())
    while not (await asyncio.wait({ended}, timeout=20))[0]:
        await asyncio.to_thread(states.send_task_heartbeat, taskToken=token)
    try:
        output = json.dumps({"status": ended.result().status, "text": ended.result().values["text"]})
    except RunFailed as failed:
        failure = {"error": failed.kind, "cause": str(failed)[:30_000]}
        await asyncio.to_thread(states.send_task_failure, taskToken=token, **failure)
    else:
        await asyncio.to_thread(states.send_task_success, taskToken=token, output=output)


async def serve(activity: str) -> None:
    states = boto3.client("stepfunctions", config=Config(read_timeout=70))  # a poll takes up to 60 s
    slots = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as tasks:
        while True:
            await slots.acquire()
            task = await asyncio.to_thread(states.get_activity_task, activityArn=activity)
            if not task.get("taskToken"):
                slots.release()
                continue
            working = tasks.create_task(work(states, task["taskToken"], json.loads(task["input"])))
            working.add_done_callback(lambda _: slots.release())


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
