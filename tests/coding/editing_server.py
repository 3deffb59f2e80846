"""A chat endpoint that plays the models of the coding agent, and counts every call; a process of its own.

It prints its port, and ends when its standard input does. `POST /RUN/v1/chat/completions` is answered by what
the prompt is; `GET /counts/RUN` tells how often each prompt came in that run; after `GET /hold/RUN/N` the
N-th call of the run gets no answer.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MARK = "# ... existing code ...\n"
PLAN = "Double the total in code.py, put a comma into the greeting of words/greet.py, and add new.py."
# The first round does half of it, with a snippet that is not taken, which the merger then puts right.
FIRST = (
    "### code.py\n```python\n<<<<<<< SEARCH\n    return sum(items)\n=======\n    return 2 * sum(items)\n"
    ">>>>>>> REPLACE\n```\n### new.py\n```python\nx = 1\n```\n"
    "### delete gone.py\n### rename was.py -> now/is.py\n\n"
    f"### twins.py\n```python\n{MARK}    return 2\n{MARK}```\n"
)
MERGED = (
    "### twins.py\n```python\n<<<<<<< SEARCH\ndef one():\n    return 1\n=======\ndef one():\n    return 2\n"
    ">>>>>>> REPLACE\n```\n"
)
SECOND = '### words/greet.py\n```python\ndef greet(name):\n    return "Hi, " + name\n```\n'
FILES = ("code.py", "words/greet.py", "twins.py")
ASKED: defaultdict[str, Counter[str]] = defaultdict(Counter)
HELD: dict[str, int] = {}
LOCK = threading.Lock()


def answer_to(asked: dict[str, Any]) -> str:
    told = "\n".join(str(message["content"]) for message in asked["messages"])
    if "You plan a small change" in told:
        return PLAN
    if "You merge changes" in told:
        return MERGED
    if "You change programs" in told:
        return SECOND if "Changed so far" in told else FIRST
    if "You find the lines of code" in told:
        return json.dumps({"ranges": [{"file": file, "start": 1, "end": 7} for file in FILES]})
    return "nothing"


class Chat(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        run = self.path.split("/")[1]
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with LOCK:
            ASKED[run][f"{asked['model']}: {asked['messages'][-1]['content']}"] += 1
            number = ASKED[run].total()
        if HELD.get(run) == number:
            threading.Event().wait(60)
            return
        message = {"role": "assistant", "content": answer_to(asked)}
        self._send(
            {
                "id": "1",
                "object": "chat.completion",
                "created": 1,
                "model": "stub-1",
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
            }
        )

    def do_GET(self) -> None:
        what, run, *number = self.path.strip("/").split("/")
        if what == "hold":
            HELD[run] = int(number[0])
        with LOCK:
            self._send(dict(ASKED[run]))

    def _send(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Chat)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
