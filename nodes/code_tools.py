"""The workers on code as tools for other agents: search a folder, compress places of it, apply an edit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import Field

from ..coding import Read, apply, compress, search
from ..state.errors import ApplyRefused, FilesChanged, InputError
from ..state.event_loops import in_thread
from .code_folders import NotAllowed, checked, files_of, read_text, root_of
from .code_writes import diff_of, write_files
from .toolkits import problem_with

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server
    from mcp.types import CallToolResult, Tool

LEAST_TOKENS: Final = 200
MOST_TOKENS: Final = 20_000
MOST_PLACES: Final = 40
MAX_SNIPPET: Final = 100_000
_LINES = re.compile(r"(?P<file>.+?)(?::(?P<start>\d{1,7})(?:-(?P<end>\d{1,7}))?)?")

Query = Annotated[str, Field(min_length=1, max_length=4000)]
Tokens = Annotated[int, Field(ge=LEAST_TOKENS, le=MOST_TOKENS)]
Places = Annotated[list[str], Field(min_length=1, max_length=MOST_PLACES)]


def code_tools(folder: str | Path, *, write: bool = False) -> list[BaseTool]:
    """Return the tools `search_code`, `compress_code` and `apply_edit` on one folder, for any agent.

    No path leads out of the folder, nor through a link, nor to what the project ignores. `apply_edit` answers
    with the diff; only with `write` it writes the file too, in one move. None of them asks a model. What goes
    wrong is told in words that a model can act on.

        agent(answer, tools=code_tools("shop", write=True), approve=["apply_edit"])
    """
    root = root_of(str(folder))
    return [
        _tool(_Folder(root, write).search_code),
        _tool(_Folder(root, write).compress_code),
        _tool(_Folder(root, write).apply_edit),
    ]


def _tool(function: Any) -> BaseTool:
    async def run(**arguments: Any) -> str:
        try:
            answer: str = await in_thread(lambda: function(**arguments))
        except (ApplyRefused, FilesChanged, InputError, NotAllowed) as problem:
            raise ToolException(str(problem)) from None
        except OSError as problem:  # a full disk, a folder that may not be written
            raise ToolException(f"{problem.strerror or problem}. Nothing was written.") from None
        return answer

    tool = StructuredTool.from_function(func=function, name=function.__name__)
    return tool.model_copy(update={"coroutine": run, "func": None})


class _Folder:
    """The workers on one folder; the methods' names and docstrings are what a model sees."""

    def __init__(self, root: Path, write: bool) -> None:
        self._root = root
        self._write = write

    def search_code(self, query: Query, tokens: Tokens = 4000) -> str:
        """Find the places in the code that a question or task is about: line ranges, best first, with why."""
        result = search(query, self._root, tokens=tokens)
        places = [
            f"{place.file}:{place.start}-{place.end}" + (f"  {place.reason}" if place.reason else "")
            for place in result.ranges
        ]
        return "\n".join(places) or "Nothing was found. Name words that stand in the code."

    def compress_code(self, query: Query, places: Places, tokens: Tokens = 2000) -> str:
        """Read places of the code, such as shop/cart.py:10-80 or shop/cart.py: the lines that matter for the
        query, word for word. A line @120 says that the next one is line 120."""
        known = frozenset(files_of(self._root))
        return compress(query, [self._read(place, known) for place in places], tokens=tokens).text

    def apply_edit(
        self,
        file: Annotated[str, Field(min_length=1, max_length=1000)],
        snippet: Annotated[str, Field(min_length=1, max_length=MAX_SNIPPET)],
    ) -> str:
        """Merge a change into a file. The snippet holds the new lines with unchanged lines around them, and
        `... existing code ...` in a comment for what stays; or search/replace blocks; or a unified diff."""
        name = checked(self._root, file, frozenset(files_of(self._root)))
        text = read_text(self._root, name)
        after = apply(name, text or "", snippet)
        diff = diff_of({name: text}, {name: after})
        if not self._write:
            return f"Not written, as this would change:\n{diff}"
        write_files(self._root, {name: text}, {name: after}, name)
        return f"Written:\n{diff}"

    def _read(self, place: str, known: frozenset[str]) -> Read:
        match = _LINES.fullmatch(place.strip())
        if match is None:
            raise NotAllowed(f"{place!r:.200} is no place. Write file:start-end, such as shop/cart.py:10-80.")
        name = checked(self._root, match["file"], known)
        text = read_text(self._root, name)
        if text is None:
            raise NotAllowed(f"There is no file {name}. Find its name with search_code.")
        lines = text.removesuffix("\n").split("\n")  # no other sign ends a line
        start = int(match["start"] or 1)
        end = int(match["end"] or match["start"] or len(lines))
        if not 1 <= start <= min(end, max(1, len(lines))):
            raise NotAllowed(f"{name} has {len(lines)} lines; {place} names none of them.")
        return Read(name, start, "\n".join(lines[start - 1 : end]))


def code_server(tools: Sequence[BaseTool]) -> Server[Any, Any]:
    """Return an MCP server of the tools; each connection is a session of its own with it."""
    from mcp.server.lowlevel import Server
    from mcp.types import CallToolResult, TextContent, Tool, ToolAnnotations

    by_name = {tool.name: tool for tool in tools}
    server: Server[Any, Any] = Server("stepgraph code-tools")

    async def listed() -> list[Tool]:
        return [
            Tool(
                name=tool.name,
                description=tool.description,
                inputSchema=tool.get_input_jsonschema(),
                annotations=ToolAnnotations(readOnlyHint=tool.name != "apply_edit", openWorldHint=False),
            )
            for tool in tools
        ]

    async def call(name: str, arguments: dict[str, Any]) -> CallToolResult:
        tool = by_name.get(name)
        problem = f"There is no tool {name!r:.100}." if tool is None else problem_with(tool, arguments)
        try:
            text = problem or str(await by_name[name].ainvoke(arguments))
        except ToolException as error:
            text = problem = str(error)
        return CallToolResult(content=[TextContent(type="text", text=text)], isError=problem is not None)

    untyped: Any = server
    untyped.list_tools()(listed)
    untyped.call_tool()(call)
    return server
