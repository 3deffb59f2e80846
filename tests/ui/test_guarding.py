"""Who may see the page: this machine, with the token, reading."""

from __future__ import annotations

import pytest

from stepgraph.state.errors import InputError
from stepgraph.ui.serving import listen

from .conftest import TOKEN, Served


def test_it_listens_on_this_machine_only(served: Served) -> None:
    with listen(0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
    with pytest.raises(InputError, match="Name another"):
        listen(served.port)


@pytest.mark.parametrize("path", ["/", "/static/ui.css", "/version", "/run?thread=x", "/nothing"])
def test_nothing_is_shown_without_the_token(served: Served, path: str) -> None:
    for cookie in (None, "", "wrong", TOKEN[:-1]):
        assert served.get(path, cookie=cookie).status == 403
    assert served.get("/", cookie=None, token="wrong").status == 403


def test_the_token_goes_from_the_address_into_a_cookie(served: Served) -> None:
    answer = served.get("/run", cookie=None, thread="a b", token=TOKEN)
    assert answer.status == 303
    assert answer.headers["location"] == "/run?thread=a+b"
    cookie = answer.headers["set-cookie"]
    assert cookie == f"stepgraph_{served.port}={TOKEN}; HttpOnly; SameSite=Strict; Path=/"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert served.get("/", token="an older one").headers["location"] == "/"


def test_the_address_that_a_browser_is_started_with_lets_in_once(served: Served) -> None:
    once = served.app.admit_once()
    assert served.get("/", cookie=once).status == 403
    first = served.get("/", cookie=None, token=once)
    assert first.headers["set-cookie"].startswith(f"stepgraph_{served.port}={TOKEN}")
    assert served.get("/", cookie=None, token=once).status == 403


def test_the_way_in_leads_nowhere_else(served: Served) -> None:
    for path in ("//example.org/x", "/\\example.org", "/%5cexample.org"):
        to = served.get(f"{path}?token={TOKEN}", cookie=None).headers["location"]
        assert to.startswith("/")
        assert not to.startswith(("//", "/\\"))


@pytest.mark.parametrize(
    "host", ["example.org", "127.0.0.1", "127.0.0.1:1", "localhost.example.org:{port}", ""]
)
def test_another_name_for_this_machine_is_refused(served: Served, host: str) -> None:
    answer = served.get("/", headers={"Host": host.format(port=served.port)})
    assert answer.status in (400, 421)
    assert "Runs" not in answer.text
    assert served.get("/", headers={"Host": f"localhost:{served.port}"}).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_it_only_reads(served: Served, method: str) -> None:
    assert served.get("/", method=method).status == 405


def test_every_answer_forbids_scripts_and_frames_from_elsewhere(served: Served) -> None:
    for path in ("/", "/nothing", "/static/ui.js"):
        headers = served.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
