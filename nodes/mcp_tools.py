"""The tools of MCP servers: as they are listed when an agent begins, and as its node calls them."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, ToolException

from ..state.errors import DefinitionError, MCPServerFailed, did_you_mean
from ..state.run_resources import RunResources, resources_of
from ..state.serde import allow
from .mcp_questions import asked_of_a_person
from .mcp_results import readable
from .mcp_servers import MCPServer, described
from .mcp_sessions import MadeAgain, ServerSession, opened

if TYPE_CHECKING:
    from mcp.types import CallToolResult

R = TypeVar("R")

REFUSED: Final = (-32601, -32602)  # no such method, wrong arguments: nothing happened
MAX_NAME: Final = 64  # what the strictest models take


@dataclass(frozen=True)
class ServerTool:
    """A tool as its server listed it; it is kept in the checkpoint, so a resume offers the model the same."""

    server: str
    name: str
    definition: Mapping[str, Any]
    once: bool = True

    @property
    def schema(self) -> dict[str, Any]:
        """The tool as an OpenAI function schema."""
        parameters = {"type": "object", "properties": {}, **self.definition.get("inputSchema", {})}
        text = self.definition.get("description") or self.definition.get("title") or ""
        return {"name": self.name, "description": text, "parameters": parameters}

    @property
    def reads(self) -> bool:
        """Whether its server says that it changes nothing."""
        return bool(_hints(self.definition).get("readOnlyHint"))

    @property
    def may_repeat(self) -> bool:
        """Whether its server says that a second call with the same arguments changes nothing more."""
        return self.reads or bool(_hints(self.definition).get("idempotentHint"))


allow(ServerTool)


def _hints(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    return definition.get("annotations") or {}


class Servers:
    """The servers of an agent: opened in its run, when they are first needed."""

    def __init__(self, servers: Iterable[MCPServer]) -> None:
        self._servers = {server.name: server for server in servers}

    def __bool__(self) -> bool:
        return bool(self._servers)

    async def session(self, name: str, config: RunnableConfig | None) -> ServerSession:
        """Return the run's session with a server. Raises MCPServerFailed."""
        server = self._servers.get(name)
        if server is None:
            raise DefinitionError(
                f"The thread calls a tool of the MCP server {name!r}, which the agent no longer has. "
                f"{did_you_mean(name, self._servers)}"
            )
        resources = resources_of(config)
        if resources is None:
            raise DefinitionError("An agent with MCP servers runs as a graph: agent(…).compile().")
        return await _session(resources, server)

    async def listed(self, config: RunnableConfig | None, taken: Iterable[str]) -> tuple[ServerTool, ...]:
        """Return the tools of all servers, under names of their own, which are none of `taken`.

        Where two have one name, the names of their servers stand before theirs.
        """
        tools: list[ServerTool] = []
        for server in self._servers.values():
            session = await self.session(server.name, config)
            tools += await _tools_of(session)
        names = [*taken, *(tool.name for tool in tools)]
        named = [tool if names.count(tool.name) == 1 else _prefixed(tool) for tool in tools]
        names = [*taken, *(tool.name for tool in named)]
        for tool in named:
            if names.count(tool.name) > 1:
                raise DefinitionError(
                    f"agent(tools=…): two tools are called {tool.name!r}, one of the MCP server "
                    f"{tool.server!r}. Rename the other, or take only some of its tools: mcp(…, tools=[…])."
                )
        return tuple(named)

    def tool(self, tool: ServerTool, config: RunnableConfig | None) -> BaseTool:
        """Return a listed tool as a LangChain tool, which is called in the run's session."""
        from langchain_mcp_adapters.tools import convert_mcp_tool_to_langchain_tool
        from mcp.types import Tool

        link: Any = _Link(self, tool, config)
        listed = Tool.model_validate(tool.definition)
        langchain_tool = convert_mcp_tool_to_langchain_tool(link, listed, server_name=tool.server)
        return langchain_tool.model_copy(update={"name": tool.name})

    async def in_turn(
        self, tool: ServerTool, config: RunnableConfig | None, call: Callable[[], Awaitable[R]]
    ) -> R:
        """Make a call once it may begin; the time that it has begins then."""
        while True:
            session = await self.session(tool.server, config)
            async with session.turn(reads=tool.reads):
                try:
                    return await call()
                except MadeAgain:
                    continue


async def _session(resources: RunResources, server: MCPServer) -> ServerSession:
    return await resources.get(server, lambda: opened(server))


async def _tools_of(session: ServerSession) -> list[ServerTool]:
    try:
        tools = await session.tools()
    except MCPServerFailed:
        raise
    except Exception as error:
        raise session.failed(f"it does not list its tools ({type(error).__name__}: {error})") from None
    server = session.server
    known = {tool.name for tool in tools}
    for name in server.tools or ():
        if name not in known:
            raise DefinitionError(
                f"mcp(tools=…) names {name!r}, which the MCP server {server.name!r} does not have. "
                + did_you_mean(name, known)
            )
    listed_tools = []
    for tool in tools:
        if server.tools is not None and tool.name not in server.tools:
            continue
        listed = ServerTool(server.name, tool.name, described(tool))
        listed = replace(listed, once=not listed.reads if server.once is None else server.once)
        listed_tools.append(_prefixed(listed) if server.prefix else listed)
    return listed_tools


def _prefixed(tool: ServerTool) -> ServerTool:
    name = f"{tool.server}_{tool.definition['name']}"
    if len(name) > MAX_NAME:
        name = f"{name[: MAX_NAME - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return replace(tool, name=name)


class _Link:
    """What LangChain's adapter takes for the session: it calls in the run's, and hears its questions."""

    def __init__(self, servers: Servers, tool: ServerTool, config: RunnableConfig | None) -> None:
        self._servers = servers
        self._tool = tool
        self._config = config

    async def call_tool(self, name: str, arguments: Mapping[str, Any], **_: Any) -> CallToolResult:
        from mcp.shared.exceptions import McpError

        session = await self._servers.session(self._tool.server, self._config)

        def ask(params: Any) -> Any:
            return asked_of_a_person(params, self._tool.server, self._tool.name, self._config)

        try:
            result = await session.call(name, arguments, ask)
        except McpError as error:
            if error.error.code in REFUSED:
                raise ToolException(error.error.message) from None
            raise
        return readable(result)


def plain(content: Any) -> Any:
    """Return a result's content as text, if it is nothing but texts, else in the parts that models take."""
    if not isinstance(content, list):
        return content
    texts = [part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") == "text"]
    return "\n".join(map(str, texts)) if len(texts) == len(content) else [_part(part) for part in content]


def _part(part: Any) -> Any:
    """Return a part of a result; a sound comes as a file, and providers want files to have names."""
    if not isinstance(part, Mapping) or part.get("type") != "file":
        return part
    kind, _, form = str(part.get("mime_type") or "application/octet-stream").partition("/")
    if kind == "audio":
        return {**part, "type": "audio"}
    return {"filename": f"file.{form.partition(';')[0] or 'bin'}", **part}
