"""The keys in use are taken out of texts in every form, whole and in pieces, in linear time."""

from __future__ import annotations

import base64
import html
import json
import random
import time
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest

from stepgraph.state import keys_in_use
from stepgraph.state.keys_in_use import StreamCleaner, remember, without_keys
from stepgraph.state.masking import EVERYTHING, NO_KEYS

KEYS = [
    "Zq8xW3pL5tR7nB2vKd9s",
    'ab"c/d\\e&f<g>h+i=j',
    "12345678",
    "correct horse battery",
]


def encoded(before: str, after: str = "") -> Callable[[str], str]:
    return lambda key: base64.b64encode((before + key + after).encode()).decode()


FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "lower": str.lower,
    "upper": str.upper,
    "json": lambda key: json.dumps(key)[1:-1],
    "json in json": lambda key: json.dumps(json.dumps(key)[1:-1])[1:-1],
    "code points": lambda key: "".join(f"\\u{ord(c):04X}" for c in key),
    "long code points": lambda key: "".join(f"\\U{ord(c):08x}" for c in key),
    "bytes": lambda key: "".join(f"\\x{ord(c):02x}" for c in key),
    "repr": lambda key: repr(key)[1:-1],
    "url": lambda key: quote(key, safe=""),
    "url in url": lambda key: quote(quote(key, safe=""), safe=""),
    "percent": lambda key: "".join(f"%{ord(c):02x}" for c in key),
    "html": html.escape,
    "entities": lambda key: "".join(f"&#{ord(c)};" for c in key),
    "hex entities": lambda key: "".join(f"&#x{ord(c):X};" for c in key),
    "base64": encoded(""),
    "base64 1": encoded("u:", " and more"),
    "base64 2": encoded("key"),
    "base64 header": encoded("Bearer "),
    "base64 url": lambda key: base64.urlsafe_b64encode(b"?" + key.encode()).decode(),
    "mime": lambda key: base64.encodebytes(b"-" * 50 + key.encode() + b"-" * 40).decode(),
    "hex": lambda key: key.encode().hex(),
    "HEX": lambda key: key.encode().hex().upper(),
    "spaced": " ".join,
    "cut": lambda key: f"{key[:5]}\n{key[5:]}",
    "invisible": "\u200b".join,
}


def know(*keys: str) -> None:
    """Make these all keys in use."""
    keys_in_use._keys.clear()
    keys_in_use._remembered.cache_clear()
    keys_in_use._rows.cache_clear()
    for key in keys:
        remember(key)


@pytest.fixture(autouse=True)
def _known() -> Iterator[None]:
    before = dict(keys_in_use._keys)
    know(*KEYS)
    yield
    know(*before)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_found_whole_and_in_pieces(key: str, form: str) -> None:
    text = f"So it is: {FORMS[form](key)} - you see?"
    cleaned = without_keys(text)
    assert "[key]" in cleaned
    assert cleaned.startswith("So it is: ")
    assert cleaned.endswith(" - you see?")
    for size in (1, 2, 5, 11):
        cleaner = StreamCleaner()
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        assert "".join(map(cleaner.feed, pieces)) + cleaner.rest() == cleaned
    assert key not in NO_KEYS.text(text)
    assert key not in EVERYTHING.json(json.dumps({"said": [text]}))


@pytest.mark.parametrize("key", ["pass%41word", "wo&amp;rd\\x42", "a\\u0042c%20d"])
@pytest.mark.parametrize("form", ["plain", "lower", "hex", "base64"])
def test_a_key_that_looks_like_an_escape_is_found(key: str, form: str) -> None:
    remember(key)
    text = FORMS[form](key)
    assert without_keys(f"a {text} b").startswith("a [key]")
    cleaner = StreamCleaner()
    assert "[key]" in "".join(map(cleaner.feed, f"a {text} b")) + cleaner.rest()


@pytest.mark.parametrize(
    "text", ["", "Zq8xW3pL5tR7nB2vKd9", "100 %", "a\\", "&", "Zq8x", "naïve %41", "12 345 67"]
)
def test_what_is_no_key_stays_and_nothing_of_a_stream_is_lost(text: str) -> None:
    assert without_keys(text) == text
    cleaner = StreamCleaner()
    assert "".join(map(cleaner.feed, text)) + cleaner.rest() == text


@pytest.mark.parametrize("word", ["", "none", "EMPTY", "anything", "not-needed", "short-1", "placeholder"])
def test_words_that_stand_for_no_key_are_left_in_texts(word: str) -> None:
    remember(word)
    assert without_keys(f"{word} is {word}") == f"{word} is {word}"


@pytest.mark.parametrize(
    "unit", ["Z", "Zq8xW3pL5tR7nB2vKd9", "%5a", "\\", "\\u005a", "&#", "%25", "Zq ", "\u200b", "x "]
)
def test_the_time_grows_with_the_text(unit: str) -> None:
    text = unit * (2**18 // len(unit)) + KEYS[0]
    start = time.process_time()
    without_keys(text)
    assert time.process_time() - start < 3  # quadratic would be minutes


@pytest.mark.parametrize("before", ["%", "%2", "\\x", "\\u00", "\\U000000", "&#", "%25", "=", "?", "\u4e2d"])
def test_a_key_is_found_after_what_looks_like_an_escape(before: str) -> None:
    know("41ab8xW3pL5tR7nB2v")
    for text in ("41ab8xW3pL5tR7nB2v", " ".join("41ab8xW3pL5tR7nB2v"), "41AB8XW3PL5TR7NB2V"):
        cleaned = without_keys(f"{before}{text}\u4e2d end")
        assert cleaned.endswith("[key]\u4e2d end"), cleaned


def test_what_stands_around_a_key_stays() -> None:
    spelt = "".join(f"%{ord(c):02x}" for c in KEYS[0])
    text = f"\u4e2d %zz = {spelt}?=%41\n{KEYS[0]}\u200b%"
    assert without_keys(text) == "\u4e2d %zz = [key]?=%41\n[key]\u200b%"


SPELLINGS: list[Callable[[str], str]] = [
    str,
    lambda c: f"%{ord(c):02x}",
    lambda c: f"%{ord(c):02X}",
    lambda c: f"%25{ord(c):02x}",
    lambda c: f"\\u00{ord(c):02x}",
    lambda c: f"\\U000000{ord(c):02x}",
    lambda c: f"\\x{ord(c):02x}",
    lambda c: f"&#{ord(c)};",
    lambda c: f"&#x{ord(c):x};",
]
HALVES = ["%", "%9", "%4", "%0", "%2", "%25", "%252", "\\", "\\u", "\\u0", "\\u004", "\\x", "\\x4"]
HALVES += ["\\U0000", "\\U000000", "\\U0000004", "&", "&#", "&#6", "&#x4", "&am", "=", "=4"]


@pytest.mark.parametrize("letters", ["0123456789abcdef", "uxUX09afgzAZ-_"])
def test_a_key_in_mixed_spellings_is_found_after_half_an_escape(letters: str) -> None:
    """The escape takes the first characters of the key for its own digits."""
    luck = random.Random(15)
    for _ in range(60):
        key = "7" + "".join(luck.choices(letters, k=luck.randint(11, 35)))
        key = key[1:] if not key[1:].isalpha() else key
        know(key)
        for half in HALVES:
            spelt = "".join(luck.choice(SPELLINGS)(c) if luck.random() < 0.5 else c for c in key)
            text = f"so {half}{spelt} end"
            cleaned = without_keys(text)
            assert cleaned.startswith("so "), text
            assert cleaned.endswith("[key] end"), text
            cut = luck.randint(0, len(text))
            cleaner = StreamCleaner()
            assert "[key]" in cleaner.feed(text[:cut]) + cleaner.feed(text[cut:]) + cleaner.rest(), text


def test_the_end_of_a_key_alone_is_no_key() -> None:
    know("9a-for-tests")
    for text in ("made-for-tests %41", "%9b-for-tests", "%41 -for-tests"):
        assert without_keys(text) == text


@pytest.mark.parametrize(
    "unit", ["9AQ8XW3PL5TR7NB2VKD9%5a", "%9q8xW3pL5tR7nB2vKd9", "9 aq8xW3pL5tR7nB2vKd9 "]
)
def test_a_flood_of_odd_spellings_leaves_none(unit: str) -> None:
    know("9aq8xW3pL5tR7nB2vKd9")
    cleaned = without_keys(f"begin {unit * 30_000} end")
    assert "q8xw3pl5tr7" not in cleaned.lower()
    assert cleaned.startswith("begin ")
    assert cleaned.endswith(" end")
