"""Images in base64 of other forms are kept once too: in lines, with letters of addresses, without padding."""

from __future__ import annotations

import base64
import json
import random
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from stepgraph import Session, chain
from stepgraph.state.base64_forms import encoded, long_runs, may_hold
from stepgraph.state.blobs import blobs_of, may_hold_blobs, named, referring, whole
from stepgraph.state.masking import NO_KEYS

HEADS = (b"\x89PNG\r\n\x1a\n", b"%PDF-1.7\n", b"ID3", b"\xff\xd8\xff\xe0")
FORMS = ("u", "p", "up", "76n", "76rn", "64n", "u76n", "up60rn")


def photo(size: int, seed: int = 1, head: bytes = HEADS[0]) -> bytes:
    return head + random.Random(seed).randbytes(size)


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1_100, 4_000),
    form=st.sampled_from(FORMS),
    head=st.sampled_from(HEADS),
    before=st.sampled_from(
        ["", "see ", "Content-Transfer-Encoding: base64\n\n", "x" * 700 + " ", "data:a/b;base64,"]
    ),
    after=st.sampled_from(["", "\n", "\nThe end", " and so on", '"', "\n\nfin", "\r\n--b"]),
    as_json=st.booleans(),
    seed=st.integers(0, 99),
)
def test_it_is_found_and_comes_back_as_it_was(
    size: int, form: str, head: bytes, before: str, after: str, as_json: bool, seed: int
) -> None:
    data = photo(size, seed, head)
    text = f"{before}{encoded(data, form)}{after}"
    text = json.dumps({"text": text}) if as_json else text
    kept = referring(text)
    known = {blob.sha256: blob.data for blob in blobs_of(kept)}
    assert whole(str(kept), known.__getitem__) == text
    assert data in known.values()
    assert len(kept) < len(before) + 300


@pytest.mark.parametrize("form", ["76n", "76rn", "u", "u76n"])
def test_as_mail_programs_write_it(form: str) -> None:
    data = photo(50_000)
    text = base64.encodebytes(data).decode() if form == "76n" else encoded(data, form)
    assert [blob.data for blob in blobs_of(named(f"Hello,\n\n{text}\nBye"))] == [data]
    packed = text.encode()
    assert may_hold_blobs(packed)


def test_keys_and_ordinary_long_texts_stay_as_they_are() -> None:
    """A private key is base64 in lines: masking must see it."""
    body = textwrap.fill(base64.b64encode(random.Random(1).randbytes(3_000)).decode(), 64)
    key = "-----BEGIN " + f"PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----"
    assert named(key) is key
    assert NO_KEYS.text(key) == "[key]"
    token = base64.urlsafe_b64encode(b'{"alg":"x"}' + random.Random(2).randbytes(2_000)).decode()
    for text in (token, "word " * 5_000, "aaaa\n" * 5_000, "x_y-" * 5_000, "[1,2,3]," * 5_000):
        assert named(text) is text


@pytest.mark.parametrize(
    "unit",
    ["a", "a_", "A" * 76 + "\n", "A" * 76 + "\\n", "A" * 75 + "\n" + "A" * 76 + "\n", "A" * 60 + "=\n",
     "A" * 100 + " ", "\\n", "\n", "iVBORw0KGgo" + "A" * 65 + "\n", "-" * 76 + "\r\n"],
)  # fmt: skip
def test_the_time_grows_with_the_text(unit: str) -> None:
    text = unit * (2**20 // len(unit))
    start = time.process_time()
    list(long_runs(text))
    named(text)
    may_hold(text.encode())
    assert time.process_time() - start < 3


@dataclass
class Mail:
    body: str
    seen: str = ""


def test_a_mail_with_a_photo_is_kept_once(tmp_path: Path) -> None:
    body = "Look:\n\n" + base64.encodebytes(photo(200_000)).decode()

    def look(mail: Mail) -> dict[str, str]:
        return {"seen": mail.body[:4]}

    graph = chain(look)
    with Session(tmp_path / "runs.sqlite") as session:
        for thread in ("one", "two"):
            config = session.config(thread)
            assert graph.compile().invoke(Mail(body), config)["seen"] == "Look"
            assert graph.compile().get_state(config).values["body"] == body
        rows = session.journal.query("SELECT size FROM blobs")
    assert [row["size"] for row in rows] == [200_008]
    if session.journal.store.has_file:
        assert (tmp_path / "runs.sqlite").stat().st_size < 700_000
