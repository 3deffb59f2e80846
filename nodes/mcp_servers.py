"""MCP servers, as an agent is given them: where each one is, and what it may see."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..providers.headers import check_headers, sent_headers
from ..providers.keys import stored_key
from ..state.errors import DefinitionError, SettingsError, did_you_mean
from ..state.settings_file import FILE_NAME, read_tables, working_folders_file

START_S: Final = 30.0
NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_RUNNERS: Final = re.compile(
    r"(python|pypy|node|deno|bun|uvx?|npx|pipx|ba?sh|env|docker)[\d.]*|run|tool|exec"
)
_SCRIPTS: Final = {".py", ".js", ".mjs", ".ts", ".sh", ".exe", ".cmd"}


@dataclass(frozen=True)
class MCPServer:
    """A server whose tools an agent is given; made by `mcp`."""

    name: str
    command: tuple[str, ...] = ()
    url: str = ""
    env: Mapping[str, str] = field(default_factory=dict, hash=False)
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    cwd: str | None = None
    tools: tuple[str, ...] | None = None
    prefix: bool = False
    once: bool | None = None
    start_s: float = START_S

    def configured(self) -> MCPServer:
        """Return the server as the settings file has it, if it is named there."""
        if self.url or len(self.command) != 1:
            return self
        table = server_table(self.command[0])
        if table is None:
            return self
        return replace(
            table,
            name=self.name,
            tools=table.tools if self.tools is None else self.tools,
            prefix=self.prefix or table.prefix,
            once=table.once if self.once is None else self.once,
            env={**table.env, **self.env},
        )

    def environment(self) -> tuple[dict[str, str], list[str]]:
        """Return the variables that its process gets beside PATH, HOME and the like, and which are secret.

        Raises SettingsError for one that is taken from the environment and not set there.
        """
        variables, secret = {}, []
        for name, value in self.env.items():
            if value.startswith("$"):
                held = os.environ.get(value[1:]) or stored_key(value[1:])
                if not held:
                    raise SettingsError(
                        f"MCP server {self.name!r}: the environment variable {value[1:]} is not set; the "
                        f"server's variable {name} needs it."
                    )
                secret.append(held)
                value = held
            variables[name] = value
        return variables, secret

    def sent_headers(self) -> tuple[dict[str, str], list[str]]:
        """Return the headers of its requests, and which of their values are secret. Raises SettingsError."""
        return sent_headers(self.headers, f"MCP server {self.name!r}")


class ServerTable(BaseModel):
    """A table `[mcp.NAME]` of the settings file."""

    model_config = ConfigDict(extra="forbid")

    command: str | list[str] = ""
    args: list[str] = Field(default_factory=list)
    url: str = ""
    env: dict[str, str] = Field(default_factory=dict)
    headers: dict[str, str] = Field(default_factory=dict)
    cwd: str | None = None
    tools: list[str] | None = None
    prefix: bool = False
    once: bool | None = None
    start_s: float = Field(default=START_S, gt=0)


def mcp(
    server: str | Sequence[str],
    *,
    name: str | None = None,
    env: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    cwd: str | None = None,
    tools: Sequence[str] | None = None,
    prefix: bool = False,
    once: bool | None = None,
    start_s: float = START_S,
) -> MCPServer:
    """Give an agent the tools of an MCP server: `agent(step, tools=mcp("uvx mcp-server-git"))`.

    `server` is a command that starts one (stdio), an address that begins with http:// or https:// (streamable
    HTTP), or the NAME of a table `[mcp.NAME]` in the settings file. One session is opened for each run that
    needs the server, and closed with it. The tools are listed when the agent begins.

    `env` are the variables that the server's process gets, `headers` those of the requests; a value "$NAME"
    is taken from the environment. Of the environment itself a server gets PATH, HOME and the like, and no
    keys. `tools` names the ones to take, all by default; `prefix` puts the server's `name` before theirs.

    Tools that are not marked as read-only happen once, whatever is resumed, replayed or forked; `once` True
    or False decides it for all. A server that does not answer within `start_s` seconds raises
    MCPServerFailed.

        agent(help, tools=[find_order, mcp("https://shop.example/mcp", headers={"X-Key": "$SHOP_KEY"})])
    """
    text = server if isinstance(server, str) else ""
    is_url = text.startswith(("http://", "https://"))
    try:
        command = () if is_url else tuple(shlex.split(text) if isinstance(server, str) else map(str, server))
    except ValueError as error:
        raise DefinitionError(f"mcp({text!r}): no command can be read there: {error}.") from None
    if not is_url and not (command and command[0].strip()):
        raise DefinitionError(
            f'mcp({server!r}): name a server: a command ("uvx mcp-server-git"), an address '
            f'("https://…/mcp"), or a table [mcp.NAME] of {FILE_NAME}.'
        )
    mcp_server = MCPServer(
        name or _name_of(command, text),
        command,
        text if is_url else "",
        dict(env or {}),
        dict(headers or {}),
        cwd,
        None if tools is None else tuple(tools),
        prefix,
        once,
        start_s,
    )
    return _checked(mcp_server, f"mcp({server!r})", DefinitionError)


def server_table(name: str) -> MCPServer | None:
    """Return the server of a table `[mcp.NAME]`, None if there is no such table. Raises SettingsError."""
    path = working_folders_file()
    tables = {} if path is None else read_tables(path).get("mcp", {})
    if not isinstance(tables, dict) or name not in tables:
        return None
    where = f"{path}, [mcp.{name}]"
    try:
        table = ServerTable.model_validate(tables[name])
    except ValidationError as error:
        problems = []
        for item in error.errors(include_url=False, include_input=False):
            key = ".".join(map(str, item["loc"]))
            hint = did_you_mean(key, ServerTable.model_fields)
            problems.append(
                f"unknown setting {key!r}. {hint}"
                if item["type"] == "extra_forbidden"
                else f"{key}: {item['msg']}"
            )
        raise SettingsError(f"{where}: {'; '.join(problems)}") from None
    command = shlex.split(table.command) if isinstance(table.command, str) else table.command
    server = MCPServer(
        name,
        (*command, *table.args),
        table.url,
        table.env,
        table.headers,
        table.cwd,
        None if table.tools is None else tuple(table.tools),
        table.prefix,
        table.once,
        table.start_s,
    )
    return _checked(server, where, SettingsError)


def _checked(server: MCPServer, where: str, error: type[DefinitionError] | type[SettingsError]) -> MCPServer:
    if bool(server.command) == bool(server.url):
        raise error(f"{where}: expected a command or a url, and not both.")
    if not NAME.fullmatch(server.name):
        raise error(
            f"{where}: the name {server.name!r} is none: letters, digits, - and _, at most 40 of them."
        )
    if server.headers and not server.url:
        raise error(f"{where}: headers go with a url. A command's server gets `env`.")
    if server.env and server.url:
        raise error(f"{where}: env goes with a command. A server at a url gets `headers`.")
    if not server.start_s > 0:
        raise error(f"{where}: start_s={server.start_s!r}, expected seconds, more than 0.")
    if server.url and (urlsplit(server.url).username or urlsplit(server.url).password):
        raise error(f"{where}: the address holds a user or a password. Put them into headers, as $NAME.")
    try:
        check_headers(server.headers)
    except ValueError as problem:
        raise error(f"{where}: {problem}.") from None
    return server


def _name_of(command: Sequence[str], url: str) -> str:
    """Return a server's name, where nobody gives one: its host, or the first word that names its program."""
    if command:
        words = [_stem(word) for word in command if not word.startswith("-")]
        name = next((word for word in words if not _RUNNERS.fullmatch(word)), words[-1] if words else "")
    else:
        name = urlsplit(url).hostname or ""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:40] or "server"


def _stem(word: str) -> str:
    path = PurePath(word)
    return path.stem if path.suffix in _SCRIPTS else path.name


def check_servers(servers: Sequence[MCPServer]) -> None:
    """Raise DefinitionError for two servers of one name."""
    names = [server.name for server in servers]
    for name in names:
        if names.count(name) > 1:
            raise DefinitionError(
                f"agent(tools=…): two MCP servers are called {name!r}. Name them: mcp(…, name=…)."
            )


def shown(server: MCPServer) -> str:
    """Return where a server is, for an error."""
    return server.url.partition("?")[0] or shlex.join(server.command)


def described(values: Any) -> dict[str, Any]:
    """Return a pydantic model of the protocol as plain data."""
    plain: dict[str, Any] = values.model_dump(mode="json", by_alias=True, exclude_none=True)
    return plain
