"""What is masked, what is not, and that masked JSON stays JSON."""

from __future__ import annotations

import json

import pytest

from stepgraph.state.errors import SettingsError
from stepgraph.state.masking import EVERYTHING, NO_KEYS, Masker, Rule

FAKE = "abcdefghij0123456789"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to ada.lovelace+x@mail.example.co.uk, please", "write to [email], please"),
        ("card 4111 1111 1111 1111.", "card [card]."),
        ("card 4111-1111-1111-1111", "card [card]"),
        ("IBAN DE89 3704 0044 0532 0130 00 it is", "IBAN [iban] it is"),
        ("call +49 (0)30 1234-5678 now", "call [phone] now"),
        ("call (030) 1234 5678", "call [phone]"),
        ("555-123-4567", "[phone]"),
        ("SSN 078-05-1120", "SSN [ssn]"),
        (f"sk-proj-{FAKE}", "[key]"),
        (f"Authorization: Bearer {FAKE}", "Authorization: Bearer [key]"),
        (f"ghp_{FAKE}", "[key]"),
        ("AKIA" + "A1B2C3D4E5F6G7H8", "[key]"),
        ("https://user:hunter2@example.org/x", "https://[key]@example.org/x"),
        ("-----BEGIN " + "PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----", "[key]"),
        (f"eyJ{FAKE}.{FAKE}.{FAKE}", "[key]"),
    ],
)
def test_what_is_masked(text: str, masked: str) -> None:
    assert EVERYTHING.text(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "on 2026-11-21 at 10:15:30.123456",
        "order 1234567890123456, 3.14159265358979",
        "10.0.0.1 and 550e8400-e29b-41d4-a716-446655440000",
        "a sketch, ask-me-anything, the risk-based approach",
        "IBAN DE89 3704 0044 0532 0130 07",
        "me @ home; @decorator",
    ],
)
def test_what_is_not(text: str) -> None:
    assert EVERYTHING.text(text) == text


def test_json_stays_json_whatever_is_in_it() -> None:
    value = {
        "a@b.example": "x\ncall\t+49 30 12345678\\",
        "card": 4111111111111111,
        "n": 12,
        "list": ["ok", None, True, 1.5, "a\n4111111111111111"],
    }
    masked = json.loads(EVERYTHING.json(json.dumps(value)))
    assert masked == {
        "[email]": "x\ncall\t[phone]\\",
        "card": "[card]",
        "n": 12,
        "list": ["ok", None, True, 1.5, "a\n[card]"],
    }


def test_text_without_a_find_is_the_same_object() -> None:
    text = json.dumps({"a": "nothing here"})
    assert EVERYTHING.json(text) is text


def test_keys_only() -> None:
    assert NO_KEYS.text(f"ada@example.org sk-{FAKE}") == "ada@example.org [key]"


def test_a_rule_of_ones_own() -> None:
    assert Masker([Rule("customer", r"\bC-\d{4}\b")]).text("C-1234 called") == "[customer] called"
    with pytest.raises(SettingsError, match="no regular expression"):
        Rule("bad", "(")
