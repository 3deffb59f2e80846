"""The search worker with a model that knows the answer: what its protocol lets one reach, for what.

    cd search-compress-apply && python eval_search.py benchmarks.coding.perfect_search:f --budget 4000

It reads the answers in `search.jsonl`, so it is a bound and no candidate. It does what a good model does: it
reads the functions that matter among those it is shown, looks for files that it is not shown, reads some
others to be sure, and names the ranges.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from stepgraph import ScriptedModel, using
from stepgraph.graphs.ready.code_search.graph import CodeQuestion, graph
from stepgraph.providers.model import CallContext, Request

MARGIN = 30
OTHERS = 2  # reads of what turns out not to matter


def f(query: str, folder: str) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Search as `eval_search.py` calls it; the answers lie in the folder that it runs in."""
    rows = (json.loads(line) for line in Path("search.jsonl").read_text("utf-8").splitlines() if line.strip())
    gold = next(row["gold"] for row in rows if row["query"] == query)
    return searched(query, folder, gold)


def searched(
    query: str, folder: str, gold: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Run the worker with the perfect model; return its ranges, and the tokens that it took."""
    wanted = [_function(Path(folder), one) for one in gold]
    wanted = list({(w["file"], w["start"], w["end"]): w for w in wanted}.values())
    with ScriptedModel(Perfect(wanted)) as model, using(model):
        result = graph.compile().invoke(CodeQuestion(query, folder))
    ranges = [{"file": one.file, "start": one.start, "end": one.end} for one in result["ranges"]]
    return ranges if result["status"] == "found" else [], _usage(model, len(ranges))


class Perfect:
    """Answers the worker's turns, knowing which lines are wanted."""

    def __init__(self, wanted: Sequence[dict[str, Any]]) -> None:
        self.wanted = list(wanted)
        self.looked_for: set[str] = set()

    def __call__(self, request: Request, _: CallContext) -> dict[str, Any]:
        seen = "\n".join(str(message["content"]) for message in request.messages if message["role"] == "user")
        transcript = "\n".join(
            str(message["content"]) for message in request.messages if message["role"] == "assistant"
        )
        files = {one["file"] for one in self.wanted}
        hidden = [file for file in sorted(files) if file not in seen and file not in self.looked_for]
        reads = [one for one in self.wanted if one["file"] in seen and not self._was_read(one, transcript)]
        calls: list[dict[str, Any]] = [{"tool": "find", "target": Path(file).name} for file in hidden]
        calls += [
            {"tool": "read", "target": one["file"], "start": one["start"], "end": one["end"]} for one in reads
        ]
        self.looked_for |= set(hidden)
        if calls:
            if not transcript:
                calls += [
                    {"tool": "read", "target": file, "start": start, "end": min(end, start + 40)}
                    for file, start, end in _entries(seen)
                    if not any(file == one["file"] for one in self.wanted)
                ][:OTHERS]
            return {"calls": calls[:8]}
        named = [one for one in self.wanted if one["file"] in seen]
        return {"ranges": [{**one, "reason": "must change"} for one in named]}

    @staticmethod
    def _was_read(one: Mapping[str, Any], transcript: str) -> bool:
        return f'"target":"{one["file"]}","start":{one["start"]},' in transcript


def _entries(seen: str) -> list[tuple[str, int, int]]:
    entries, file = [], ""
    for line in seen.splitlines():
        span = line.partition(" ")[0].split("-")
        if line.endswith(":") and " " not in line:
            file = line[:-1]
        elif file and len(span) == 2 and all(part.isdigit() for part in span):
            entries.append((file, int(span[0]), int(span[1])))
    return entries


def _function(root: Path, gold: Mapping[str, Any]) -> dict[str, Any]:
    """Return the lines of the function round a change, at most 30 to each side of it."""
    text = (root / gold["file"]).read_text("utf-8", "replace")
    start, end = int(gold["start"]), int(gold["end"])
    try:
        nodes = [
            node
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
    except (SyntaxError, ValueError):
        nodes = []
    around = [
        (node.lineno, node.end_lineno or node.lineno)
        for node in nodes
        if node.lineno <= start and end <= (node.end_lineno or 0)
    ]
    first, last = max(around) if around else (start - 8, end + 8)
    lines = text.count("\n") + 1
    return {
        "file": gold["file"],
        "start": max(1, first, start - MARGIN),
        "end": min(lines, last, end + MARGIN),
    }


def _usage(model: ScriptedModel, named: int) -> dict[str, int]:
    """Return the tokens of all turns: each once, and as they were sent, the whole talk again every turn."""
    encoding = import_module("bpe_openai").get_encoding("o200k_base")

    def tokens(value: object) -> int:
        return len(encoding.encode(value if isinstance(value, str) else json.dumps(value, default=str)))

    sent = [
        sum(tokens(message["content"]) + 4 for message in request.messages) + tokens(request.schema)
        for _, request in model.asks
    ]
    last = [m["content"] for m in model.asks[-1][1].messages if m["role"] == "assistant"]
    answer_tokens = sum(tokens(text) for text in last)
    answered = 40 * named  # the ranges, which are not sent again
    return {
        "search_tokens_in": sent[-1] - answer_tokens,
        "search_tokens_out": answer_tokens + answered,
        "search_tokens_resent": sum(sent),
        "turns": len(sent),
        "calls": sum(text.count('"tool"') for text in last),
    }
