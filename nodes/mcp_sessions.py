"""An open session with an MCP server: its tools are listed and called in it, and its questions heard.

A server's question (an elicitation) does not say during which call it comes. So calls that may change
something run one after another, and a question that comes while several run that only read has these made
again, one by one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from ..providers.backends.http_errors import without_secrets
from ..state.errors import MCPServerFailed, SettingsError
from ..state.event_loops import in_thread
from ..state.masking import NO_KEYS
from .mcp_servers import MCPServer, shown

if TYPE_CHECKING:
    from mcp import ClientSession
    from mcp.types import CallToolResult, ElicitRequestParams, ElicitResult, ErrorData, Tool

INSTALL_HELP: Final = 'Install it with: pip install "stepgraph[mcp]" (in a clone: ".[mcp]")'
LINES: Final = 10  # of what a server wrote to stderr
KEPT_BYTES: Final = 8_000
LONGEST_S: Final = 86_400.0  # of a call, which has a time of its own
ENOUGH_S: Final = 5.0  # for a call to end, once its question was called off
PING_S: Final = 5.0
PAGES: Final = 1_000  # of a list of tools
CLOSED: Final = -32000  # what the protocol's client makes of a connection that ended

Ask = Callable[["ElicitRequestParams"], "ElicitResult"]


class MadeAgain(Exception):
    """A call was left, because nobody knows which one a question belongs to: make it again, alone."""


class _ToldElsewhere(logging.Filter):
    """Leaves out the stack traces of what MCPServerFailed tells in words."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(
            ("Failed to parse JSONRPC message", "Error in post_writer", "Session termination failed")
        )


for logger in ("mcp.client.stdio", "mcp.client.streamable_http"):
    logging.getLogger(logger).addFilter(_ToldElsewhere())


@dataclass(eq=False)
class _OpenCall:
    """A call under way, and what the server asks during it."""

    questions: asyncio.Queue[tuple[ElicitRequestParams, asyncio.Future[Any]]] = field(
        default_factory=asyncio.Queue
    )
    again: bool = False  # it is to be made again, by itself
    is_left: bool = False  # its run parks until a person has answered
    id: int | None = None  # of the request


class ServerSession:
    """One open session; calls that only read may run at the same time, others run alone."""

    def __init__(self, server: MCPServer, log: _ServerLog) -> None:
        self.server = server
        self._log = log
        self.client: ClientSession
        self._calls: list[_OpenCall] = []
        self._free = asyncio.Condition()
        self._readers = 0
        self._one_by_one = False
        self.over = asyncio.Event()
        self._sending: set[asyncio.Task[Any]] = set()

    async def tools(self) -> list[Tool]:
        """Return the server's tools. Raises MCPServerFailed if it takes longer than its start may."""
        from mcp.types import PaginatedRequestParams

        tools: list[Tool] = []
        cursor: str | None = None
        listing = asyncio.timeout(self.server.start_s)
        try:
            async with listing:
                for _ in range(PAGES):
                    page = await self.client.list_tools(params=PaginatedRequestParams(cursor=cursor))
                    tools += page.tools
                    cursor = page.nextCursor
                    if not cursor:
                        break
        except TimeoutError:  # an answer that cannot be read is dropped, and would be waited for without end
            if not listing.expired():
                raise
            raise self.failed(f"it did not list its tools within {self.server.start_s:g} s") from None
        return tools

    @asynccontextmanager
    async def turn(self, *, reads: bool) -> AsyncIterator[None]:
        """Wait until a call may begin: beside others that only read, or alone."""
        shared = reads and not self._one_by_one
        async with self._free:
            await self._free.wait_for(lambda: self._readers >= 0 if shared else self._readers == 0)
            self._readers = self._readers + 1 if shared else -1
        try:
            yield
        finally:
            async with self._free:
                self._readers = self._readers - 1 if shared else 0
                self._free.notify_all()

    async def call(self, tool: str, arguments: Mapping[str, Any], ask: Ask) -> CallToolResult:
        """Call a tool; `ask` is given what the server asks meanwhile.

        Raises MCPServerFailed if the connection ends, and MadeAgain where it needs a turn of its own.
        """
        from anyio import BrokenResourceError, ClosedResourceError
        from mcp.shared.exceptions import McpError
        from mcp.types import ElicitResult

        call = _OpenCall()
        self._calls.append(call)
        call_task = asyncio.ensure_future(self._make_call(call, tool, arguments))
        question_task = asyncio.ensure_future(call.questions.get())
        over = asyncio.ensure_future(self.over.wait())
        try:
            while True:
                wait = PING_S if self.server.url else None
                waiting = {call_task, question_task, over}
                done, _ = await asyncio.wait(waiting, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    self._send(
                        self.client.send_ping()
                    )  # over HTTP, only who sends learns that nobody is there
                    continue
                if call_task.done():
                    result = call_task.result()
                    if call.again:
                        raise MadeAgain
                    return result
                if not question_task.done():
                    raise ClosedResourceError
                question, answer = question_task.result()
                question_task = asyncio.ensure_future(call.questions.get())
                try:
                    answer.set_result(ask(question))
                except BaseException:
                    call.is_left = True
                    answer.set_result(ElicitResult(action="cancel"))
                    await asyncio.wait({call_task}, timeout=ENOUGH_S)  # so that no question of it comes later
                    raise
        except (McpError, ClosedResourceError, BrokenResourceError) as error:
            if not isinstance(error, McpError) or error.error.code == CLOSED:
                raise self.failed(f"the connection ended while {tool} was called") from None
            raise
        finally:
            self._calls.remove(call)
            if not call_task.done():
                self._leave(call)
            for task in (call_task, question_task, over):
                task.cancel()
                task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _make_call(self, call: _OpenCall, tool: str, arguments: Mapping[str, Any]) -> CallToolResult:
        call.id = getattr(self.client, "_request_id", None)
        return await self.client.call_tool(tool, dict(arguments))

    def _leave(self, call: _OpenCall) -> None:
        """Tell the server that nobody waits for a call any more, which took too long or was cancelled."""
        from mcp.types import CancelledNotification, CancelledNotificationParams, ClientNotification

        if call.id is None:
            return
        note = CancelledNotification(params=CancelledNotificationParams(requestId=call.id))
        self._send(self.client.send_notification(ClientNotification(note)))

    def _send(self, message: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(message)
        self._sending.add(task)
        task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[Any]) -> None:
        self._sending.discard(task)
        if not task.cancelled():
            task.exception()  # a server that is gone need not be told

    async def on_question(self, _: Any, params: ElicitRequestParams) -> ElicitResult | ErrorData:
        """Take a question of the server's to the call during which it comes."""
        from mcp.types import INVALID_REQUEST, ElicitResult, ErrorData

        if len(self._calls) == 1 and self._calls[0].is_left:
            return ElicitResult(action="cancel")
        if len(self._calls) != 1 or self._calls[0].again:
            self._one_by_one = True
            for call in self._calls:
                call.again = True
            return ErrorData(code=INVALID_REQUEST, message="Ask during a call: it is made again by itself.")
        answer: asyncio.Future[ElicitResult] = asyncio.get_running_loop().create_future()
        self._calls[0].questions.put_nowait((params, answer))
        return await answer

    def failed(self, what: str) -> MCPServerFailed:
        """Return the error that says what went wrong, with the last that the server said."""
        return self._log.failed(self.server, what)


class _ServerLog:
    """What a server says beside the protocol: on stderr, and on stdout where only the protocol belongs."""

    def __init__(self, secret: list[str]) -> None:
        self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the session
        self.garbage = ""
        self._secret = secret

    async def on_message(self, message: Any) -> None:
        if isinstance(message, ValidationError) and not self.garbage:
            self.garbage = str(message.errors(include_url=False)[0]["input"])[:200]

    def last(self) -> str:
        if self.file.closed:
            return ""
        size = os.fstat(self.file.fileno()).st_size
        # Not by seek: the process writes at the place to which that would go.
        data = os.pread(self.file.fileno(), KEPT_BYTES, max(0, size - KEPT_BYTES))
        return self._hidden("\n".join(data.decode("utf-8", "replace").strip().splitlines()[-LINES:]))

    def _hidden(self, text: str) -> str:
        return NO_KEYS.text(without_secrets(text, self._secret))

    def failed(self, server: MCPServer, what: str) -> MCPServerFailed:
        last = self.last()
        parts = [f"MCP server {server.name!r} ({self._hidden(shown(server))}): {self._hidden(what)}."]
        if self.garbage:
            parts.append(f"On stdout it wrote what is not the protocol: {self._hidden(self.garbage)!r}.")
        if last:
            parts.append(f"Its last lines on stderr:\n{last}")
        elif server.command:
            parts.append("It wrote nothing to stderr.")
        return MCPServerFailed(" ".join(parts), server=server.name, stderr=last)


@asynccontextmanager
async def opened(server: MCPServer) -> AsyncIterator[ServerSession]:
    """Open a session with a server. Raises MCPServerFailed, and SettingsError for what is missing."""
    try:
        import langchain_mcp_adapters.sessions as adapters
        import mcp as _  # noqa: F401
    except ImportError:
        raise SettingsError(
            f"The MCP server {server.name!r} needs packages that are not installed. {INSTALL_HELP}"
        ) from None
    server = await in_thread(server.configured)
    env, secret = await in_thread(server.environment)
    headers, more = server.sent_headers()
    log = _ServerLog([*secret, *more])
    session = ServerSession(server, log)
    options: Any = {"elicitation_callback": session.on_question, "message_handler": log.on_message}
    ready = False
    starting = asyncio.timeout(server.start_s)
    try:
        async with starting:
            if server.command:
                client = _over_stdio(server, env, log.file, options)
            else:
                client = adapters.create_session(
                    {
                        "transport": "streamable_http",
                        "url": server.url,
                        "headers": headers,
                        "sse_read_timeout": LONGEST_S,
                        "session_kwargs": options,
                    }
                )
            async with client as session.client:
                await session.client.initialize()
                ready = True
                starting.reschedule(None)
                yield session
    except (MCPServerFailed, SettingsError):
        raise
    except FileNotFoundError:
        raise log.failed(
            server,
            f"there is no command {server.command[0]!r}. Check the PATH and the folder; a table of the "
            f"settings file would be [mcp.{server.command[0]}]"
            if server.command
            else "a file is missing",
        ) from None
    except Exception as error:
        if starting.expired() and not ready:
            raise log.failed(server, f"no answer to its first message within {server.start_s:g} s") from None
        if ready and not _of_connection(error):
            raise
        raise log.failed(
            server, f"it {'broke down' if ready else 'did not start'} ({_reason(error)})"
        ) from None
    finally:
        session.over.set()
        log.file.close()


@asynccontextmanager
async def _over_stdio(
    server: MCPServer, env: dict[str, str], stderr: IO[bytes], options: dict[str, Any]
) -> AsyncIterator[ClientSession]:
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    command, *arguments = server.command
    process = StdioServerParameters(
        command=command, args=arguments, env=env, cwd=server.cwd, encoding_error_handler="replace"
    )
    errlog: Any = stderr
    async with (
        stdio_client(process, errlog=errlog) as (reading, writing),
        ClientSession(reading, writing, **options) as session,
    ):
        yield session


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _of_connection(error: BaseException) -> bool:
    return type(_leaf(error)).__module__.partition(".")[0] in (
        "anyio",
        "httpx",
        "httpcore",
        "mcp",
        "builtins",
    )


def _reason(error: BaseException) -> str:
    leaf = _leaf(error)
    text = str(leaf).strip().splitlines()
    return f"{type(leaf).__name__}: {text[0]}" if text else type(leaf).__name__
