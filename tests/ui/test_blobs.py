"""Images, sounds and documents on the page: shown or saved, and nothing in them can run."""

from __future__ import annotations

import base64
import html
import http.client
import io
import re
import struct
import wave
import zlib
from dataclasses import dataclass

import pytest
from langchain_core.messages import HumanMessage

from stepgraph import Ask, ScriptedModel, Session, chain, step, using
from stepgraph.state.blobs import sized
from stepgraph.tracing.export.settings import read_settings
from stepgraph.tracing.record.run import read_run
from stepgraph.ui.exporting import to_html
from stepgraph.ui.records import Reader

from .conftest import TOKEN, Served


def png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixel = zlib.compress(b"\0\xff\0\0")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")


def wav() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(800))
    return file.getvalue()


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert("here I am")</script></svg>'
PAGE = b"<html><script>alert('a page that says that it is a picture')</script></html>"
PDF = b"%PDF-1.4 a document of one page, as far as anybody can tell from here"


@dataclass
class Media:
    address: str
    seen: str = ""


@step("seen")
def look(media: Media) -> Ask[str]:
    block = {"type": "image_url", "image_url": {"url": media.address}}
    return Ask([HumanMessage([{"type": "text", "text": "What is it?"}, block])])


def page_of(served: Served, data: bytes, kind: str) -> str:
    address = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    with using(ScriptedModel(["a thing"])):
        chain(look).compile().invoke(Media(address), served.session.config("one"))
    (node,) = Reader(served.session).run("one").steps
    return served.get("/step", thread="one", span=node.span.id).text


def fetched(served: Served, path: str, cookie: str = TOKEN) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    connection.request("GET", path, headers={"Cookie": f"stepgraph_{served.port}={cookie}"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body


@pytest.mark.parametrize(
    ("data", "kind", "element"),
    [(png(), "image/png", "img"), (png(), "text/html", "img"), (wav(), "audio/wav", "audio")],
    ids=["image", "image-of-another-name", "sound"],
)
def test_what_can_be_shown_is_shown(served: Served, data: bytes, kind: str, element: str) -> None:
    page = page_of(served, data, kind)
    found = re.search(rf'<{element}\b[^>]* src="(/blob\?sha256=[0-9a-f]{{64}})"', page)
    assert found is not None
    assert base64.b64encode(data).decode() not in page
    status, headers, body = fetched(served, found[1])
    assert (status, body) == (200, data)
    assert headers["content-type"] == {"img": "image/png", "audio": "audio/wav"}[element]
    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]


@pytest.mark.parametrize(
    ("data", "kind", "sent"),
    [
        (SVG, "image/svg+xml", "application/octet-stream"),
        (PAGE, "image/png", "application/octet-stream"),
        (PAGE, "text/html", "application/octet-stream"),
        (PDF, "application/pdf", "application/pdf"),
    ],
    ids=["svg", "page-as-image", "page", "pdf"],
)
def test_all_else_is_only_saved(served: Served, data: bytes, kind: str, sent: str) -> None:
    page = page_of(served, data, kind)
    found = re.search(r'<a href="(/blob\?sha256=[0-9a-f]{64})" download>', page)
    link = found[1] if found else re.findall(r"/blob\?sha256=[0-9a-f]{64}", page)[0]
    _, headers, body = fetched(served, link)
    assert body == data
    assert headers["content-type"] == sent
    assert headers["content-disposition"].startswith("attachment")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'; sandbox; frame-ancestors 'none'"


def test_who_has_no_token_sees_no_image(served: Served) -> None:
    link = re.findall(r"/blob\?sha256=[0-9a-f]{64}", page_of(served, png(), "image/png"))[0]
    assert fetched(served, link, cookie="guessed")[0] == 403
    assert fetched(served, "/blob?sha256=" + "0" * 64)[0] in (404, 500)
    assert fetched(served, "/blob?sha256=../../etc/passwd")[0] == 404


def test_no_image_leaves_with_the_saved_file(served: Served, session: Session) -> None:
    page_of(served, png(), "image/png")
    html = to_html(read_run(session, "one"), read_settings().sent_mask)
    assert "<img" not in html
    assert "[image/png, " in html
    assert base64.b64encode(png()).decode() not in html


@step("seen")
def read_file(media: Media) -> Ask[str]:
    file = {"type": "file", "file": {"filename": media.seen, "file_data": media.address}}
    return Ask([HumanMessage([{"type": "text", "text": "Sum it up."}, file])])


@pytest.mark.parametrize(
    ("name", "data", "saved"),
    [
        ("bill 7.pdf", PDF, "bill-7.pdf"),
        ("../../<b>x</b>.html", SVG, "b-.html.bin"),
        ("run.svg", SVG, "run.svg.bin"),
        ("größe.csv", b"a,b\n" * 400, "gr-e.csv"),
    ],
)
def test_a_file_is_listed_with_its_name_and_saved_under_one_that_is_safe(
    served: Served, name: str, data: bytes, saved: str
) -> None:
    address = f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}"
    with using(ScriptedModel(["a thing"])):
        chain(read_file).compile().invoke(Media(address, name), served.session.config("one"))
    page = served.get("/run", thread="one").text
    gallery = page[page.index('id="media"') :]
    assert f"<strong>{html.escape(name)}</strong>" in gallery
    assert ("application/pdf" if data is PDF else "application/octet-stream") in gallery
    assert f", {sized(len(data))}<" in gallery
    link = html.unescape(re.findall(r'href="(/blob\?[^"]*)" download', gallery)[0])
    status, headers, body = fetched(served, link)
    assert (status, body) == (200, data)
    assert headers["content-disposition"] == f'attachment; filename="{saved}"'
    assert headers["x-content-type-options"] == "nosniff"


def test_an_image_stands_once_in_the_gallery_and_can_be_saved(served: Served) -> None:
    page_of(served, png(), "image/png")
    page = served.get("/run", thread="one").text
    gallery = page[page.index('id="media"') :]
    assert gallery.count("<img") == 1
    shown = re.findall(r'<img src="([^"]*)"', gallery)[0]
    assert "content-disposition" not in fetched(served, shown)[1]
    saved = html.unescape(re.findall(r'href="(/blob\?[^"]*)" download', gallery)[0])
    assert fetched(served, saved)[1]["content-disposition"].endswith('.png"')
    assert 'id="media"' not in to_html(read_run(served.session, "one"), read_settings().sent_mask)
