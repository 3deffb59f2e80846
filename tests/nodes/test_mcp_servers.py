"""What describes an MCP server: its name, its table of the settings file, its variables, what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from stepgraph import mcp
from stepgraph.errors import DefinitionError, SettingsError
from stepgraph.nodes.mcp_servers import MCPServer, check_servers, server_table, shown


@pytest.mark.parametrize(
    ("server", "name"),
    [
        ("uvx mcp-server-git", "mcp-server-git"),
        ("npx -y @scope/files-1.2", "files-1-2"),
        ("python3.12 /srv/tools.py --port 1", "tools"),
        ("docker run --rm -i image", "image"),
        ("server.v2", "server-v2"),
        ("node", "node"),
        ("uv run npx", "npx"),
        ("-x", "server"),
        (["uv", "tool", "run", "fetch.exe"], "fetch"),
        ("https://shop.example:8000/mcp", "shop-example"),
        ("x" * 50, "x" * 40),
    ],
)
def test_a_server_is_called_by_what_it_is(server: Any, name: str) -> None:
    assert mcp(server).name == name
    assert mcp(server, name="own").name == "own"


@pytest.mark.parametrize(
    ("server", "options", "told"),
    [
        ("", {}, "mcp(''): name a server"),
        (" ", {}, "mcp(' '): name a server"),
        ([""], {}, "mcp(['']): name a server"),
        ([], {}, "mcp([]): name a server"),
        (["", "a"], {}, "name a server"),
        ("a 'b", {}, "no command can be read there: No closing quotation"),
        ("a", {"name": "a b"}, "the name 'a b' is none"),
        ("a", {"name": "x" * 41}, "at most 40 of them"),
        ("a", {"headers": {"A": "b"}}, "headers go with a url"),
        ("http://a", {"env": {"A": "b"}}, "env goes with a command"),
        ("a", {"start_s": 0}, "start_s=0, expected seconds, more than 0"),
        ("a", {"start_s": float("nan")}, "start_s=nan"),
        ("http://me@a", {}, "holds a user or a password"),
        ("http://:x@a", {}, "holds a user or a password"),
        ("http://a", {"headers": {"A": "b\n"}}, "http://a"),
    ],
)
def test_what_makes_no_server_is_refused(server: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(told)):
        mcp(server, **options)


def test_what_may_be_given_is_kept() -> None:
    given = mcp(
        "https://a.example/mcp?key=1", headers={"A": "b"}, tools=["f"], prefix=True, once=False, start_s=2
    )
    assert given == MCPServer(
        "a-example", (), "https://a.example/mcp?key=1", {}, {"A": "b"}, None, ("f",), True, False, 2
    )
    assert shown(given) == "https://a.example/mcp"
    started = mcp("serve 'a b'", env={"A": "b"}, cwd="/srv", start_s=0.5)
    assert started == MCPServer("serve", ("serve", "a b"), "", {"A": "b"}, {}, "/srv", None, False, None, 0.5)
    assert shown(started) == "serve 'a b'"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (
            'command = "serve \'a b\'"\nargs = ["-x"]\nenv = {A = "b"}\ncwd = "/srv"',
            MCPServer("own", ("serve", "a b", "-x"), "", {"A": "b"}, {}, "/srv", None, False, None, 30.0),
        ),
        (
            'command = ["serve", "a b"]\ntools = ["f"]\nprefix = true\nonce = false\nstart_s = 2',
            MCPServer("own", ("serve", "a b"), "", {}, {}, None, ("f",), True, False, 2.0),
        ),
        (
            'url = "http://a"\nheaders = {A = "b"}',
            MCPServer("own", (), "http://a", {}, {"A": "b"}, None, None, False, None, 30.0),
        ),
    ],
)
def test_a_table_of_the_settings_file_describes_one(tmp_path: Path, table: str, expected: MCPServer) -> None:
    (tmp_path / "stepgraph.toml").write_text(f"[mcp.own]\n{table}\n")
    assert server_table("own") == expected
    assert server_table("other") is None


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('comand = "a"', "unknown setting 'comand'. Did you mean 'command'?"),
        ('command = "a"\nstart_s = 0', "start_s: Input should be greater than 0"),
        ('command = "a"\nurl = "http://a"', "expected a command or a url, and not both"),
        ("", "expected a command or a url, and not both"),
    ],
)
def test_a_table_that_describes_none_is_told_with_its_place(tmp_path: Path, table: str, told: str) -> None:
    (tmp_path / "stepgraph.toml").write_text(f"[mcp.own]\n{table}\n")
    with pytest.raises(SettingsError, match=rf"stepgraph.toml, \[mcp.own\]: .*{re.escape(told)}"):
        server_table("own")


def test_without_a_settings_file_there_is_no_table() -> None:
    assert server_table("own") is None


def test_variables_come_from_the_environment_and_are_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "t0p")
    assert mcp("a", env={"A": "$TOKEN", "B": "plain"}).environment() == ({"A": "t0p", "B": "plain"}, ["t0p"])
    with pytest.raises(SettingsError, match="MCP server 'a': the environment variable NO_TOKEN is not set"):
        mcp("a", env={"A": "$NO_TOKEN"}).environment()


def test_two_servers_of_one_name_are_refused() -> None:
    check_servers([mcp("a"), mcp("b")])
    with pytest.raises(DefinitionError, match="two MCP servers are called 'a'"):
        check_servers([mcp("a"), mcp("b"), mcp("a")])
