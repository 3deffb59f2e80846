"""What is masked, what is not, and that masked JSON stays JSON."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given, settings, strategies as st

from stepgraph.state import keys_in_use
from stepgraph.state.errors import SettingsError
from stepgraph.state.keys_in_use import remember
from stepgraph.state.masking import EVERYTHING, KEYS, MOST_CHECKS, NO_KEYS, Masker, Rule, without_userinfo

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


HOSTILE = (
    "-eyJaaaaaaaa",
    ".eyJaaaaaaaa.aaaaaaaa",
    "sk-",
    "sk-aaaaaaaaaaaaa ",
    "a.",
    "a@",
    "a@a.",
    " a",
    "1 ",
    "1",
    "123456 ",
    "4111111111111111 ",
    "4111 1111 1111 1111 ",
    "1 1 1 1 1 1 1 1 1 1 1 1 x ",
    "+1 (2) ",
    "DE89 3704 0044 0532 0130 00 ",
    "AA11AAAA",
    "://a:",
    "://a@",
    "Bearer ",
    "bearer aaaaaaaaaaaaaaa ",
    "Basic aaaaaaaaaaaaaaaaa ",
    "-----BEGIN ",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN A A A PRIVATE ",
    "api-key: ",
    "password=aaaaaaaaaaaaaaa1a ",
    "xoxb-aaa ",
    "hooks.slack.com/a/",
    "a%40",
    "123-45-",
    "(030) 1",
    "555-123-",
    "020 7946 ",
    "0170 1234567 ",
    "01 23 45 67 89 ",
    "0123456789012",
    "x4111111111111112 ",
    "aaaaaaaaaaaa4111 ",
    "a [at] ",
    "a[at]a[dot]",
    "a&#64;",
    '"a"@',
    '"a',
    "@localhost",
    "1\u00a0",
    "1111.1111.1111.",
    "\n",
)


@pytest.mark.parametrize("number", range(len(EVERYTHING.rules)))
def test_a_rule_takes_a_time_that_grows_with_the_text(number: int) -> None:
    """64 KiB of each hostile text takes milliseconds; a rule whose time grows faster takes minutes."""
    rule = EVERYTHING.rules[number]
    for unit in HOSTILE:
        for text in (unit * (2**16 // len(unit)), "a" * 2**16 + unit):
            start = time.process_time()
            rule.mask(text)
            assert time.process_time() - start < 1, unit


@pytest.mark.parametrize(
    "text",
    [
        "sk-ant-abc123",
        f"glpat-{FAKE}",
        f"ya29.a0{FAKE}",
        f"npm_{FAKE}",
        f"whsec_{FAKE}",
        f"pplx-{FAKE}",
        f"nvapi-{FAKE}",
        f"SG.{FAKE}.{FAKE}",
        f"https://hooks.slack.com/services/T000/B000/{FAKE}",
        f"bearer {FAKE}",
        f"BEARER {FAKE}",
        "Authorization: Basic dXNlcjpwYXNzd29yZDEyMw==",
        f"AccountKey={FAKE}==",
        f"api-key: {FAKE}",
        f"API_KEY='{FAKE}'",
        "postgres://u:p@ss@h/db",
        "postgres://:secretpw@h/db",
        "https://token@example.org/x",
        "4111.1111.1111.1111",
        "4111\u00a01111\u00a01111\u00a01111",
        "4111\u20091111\u20091111\u20091111",
        "4111  1111  1111  1111",
        "3782\u2009822463\u200910005",
        "4111\u20131111\u20131111\u20131111",
        "+49\u00a0170\u00a01234567",
        "+49\u2009170\u20091234567",
        "555.123.4567",
        "555\u00a0123\u00a04567",
        "123 45 6789",
        "de89370400440532013000",
        "DE89\u00a03704\u00a00044\u00a00532\u00a00130\u00a000",
        "4111111111111111a",
        "x4111111111111111",
        "card4111 1111 1111 1111now",
        "nr_5555555555554444",
        "020 7946 0958",
        "0170 1234567",
        "0170/1234567",
        "030 12345678",
        "02079460958",
        "06 12 34 56 78",
        "01.45.67.89.10",
        "1-800-555-0199",
        "ada@localhost",
        "ada.l+x [at] example.org",
        "ada(at)example(dot)co(dot)uk",
        "ADA [AT] EXAMPLE [DOT] ORG",
        "ada&#64;example.org",
        '"ada lovelace"@example.org',
        "ada%40example.org",
        "ada\uff20example.org",
    ],
)
def test_what_else_is_masked(text: str) -> None:
    masked = EVERYTHING.text(f"see {text} there")
    assert re.fullmatch(r"see .*\[(key|card|phone|ssn|iban|email)\].* there", masked)
    assert FAKE not in masked


@pytest.mark.parametrize(
    "text",
    [
        "Basic information",
        "Basic InformationIsHere",
        "a basic 1234567890123456789 of it",
        "the bearer of this letter",
        "my password is safe",
        "api-key: see the docs of it",
        "1 2 3 4 5 6 7 8 9",
        "on 01-02-2026, 01/02/2026, 2026-01-02 and at 09:30, 0930 hours",
        "the pairs 01 02 03 04 05, and 0.1234567890, 0,1234567 or 007 1234",
        "0 to 100 000 000, 00 12, item 0001 of 1200, page 01 2026",
        "react@18.2.0, root@server, look (at) this, look at the dot, a[at] = 3, what? at) x",
        "the run order4111111111111112 and commit 4a1111111111111111111b, v4111111111111111x9",
        "sha 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "Boston, MA 02110-1301, 001         1",
        "ISBN 0306406152 and EAN 4006381333931x",
        "0x4111111111111111ff, id-4111111111111111",
        'he said "yes" @home, "a"@ b, ["a", "b", "@daily"]',
    ],
)
def test_what_else_is_not(text: str) -> None:
    assert EVERYTHING.text(text) == text


def test_users_and_passwords_of_addresses() -> None:
    assert (
        without_userinfo("at http://u:p@h/v1, ada@h, http://h/@x")
        == "at http://[user]@h/v1, ada@h, http://h/@x"
    )
    for kept in (
        "postgresql://ada@h:5432/runs",
        "postgres://ada@one:1,two:2/runs, b@c",
        "postgresql://h/runs",
    ):
        assert without_userinfo(kept) == kept
    for address in ("postgresql://ada:p@h/runs", "postgresql://:p@h/runs", "postgresql://ada:p@w@h:5/runs"):
        assert without_userinfo(address) == f"postgresql://[user]@{address.rpartition('@')[2]}"
    assert without_userinfo("https://token@h") == "https://[user]@h"


def test_a_text_with_too_much_to_check_loses_all_that_has_the_form() -> None:
    text = "4111111111111112 " * (MOST_CHECKS + 10)
    assert EVERYTHING.rules[-6].name == "card"
    assert EVERYTHING.text(text).count("[card]") == 10


HINTS = sorted({hint for rule in EVERYTHING.rules for hint in rule.hints})
PIECES = st.sampled_from(
    [*HINTS, "0123 456 789", "4111111111111111", "aB3-_.x" * 5, "ada", ".example.org", "=", ' "', "٣" * 9]
)


@given(st.lists(PIECES, max_size=6).map("".join))
def test_no_rule_is_left_out_that_a_hint_speaks_for(text: str) -> None:
    expected = text
    for rule in EVERYTHING.rules:
        numbers = rule.numeric and not rule.hints and re.search(r"\d(?:\D{0,3}\d){6}", text)
        if numbers or any(hint in text for hint in rule.hints):
            expected = rule.mask(expected)
    assert EVERYTHING._masked(text) == expected


def test_the_id_of_something_is_no_number_of_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    id_ = "1f1eab3f-0202-6543-8005-201234567890"
    assert EVERYTHING.text(id_) == id_
    monkeypatch.setattr(keys_in_use, "_keys", {})
    remember(id_)
    assert EVERYTHING.text(id_) == "[key]", "a key in use, also where its text was met before"


WORDS = ["api", "ACCESS", "Account", "secret", "private", "auth", "aws", "client", "password"]
NAMED_KEYS = st.tuples(
    st.sampled_from(WORDS),
    st.sampled_from(["", "_", "-", " "]),
    st.sampled_from(["key", "KEY", "\u212aey", "Token", "secret", "\u017fecret", "", "board"]),
    st.sampled_from(["", '"', "'", ")"]),
    st.sampled_from(["", "=", ": ", "  ", ":="]),
    st.sampled_from(["", '"', "'"]),
    st.sampled_from(["abcdefgh12345678", "Zz9/+~.-Zz9/+~.-=", "abcdefgh"]),
)


# The rule as one would write it first; the real one is looked for from the end of the name, which is faster.
PLAIN = re.compile(
    r"(?i)(?<![a-z])(?:(?:api|access|account|secret|private|auth)[-_ ]?(?:key|token)|aws[-_]secret"
    r"|client[-_]secret|password)[\"']?[=: ]{1,3}[\"']?(?P<secret>[\w+/.~-]{16,}={0,2})"
)


@settings(max_examples=200)
@given(NAMED_KEYS.map("".join))
def test_a_named_key_is_found_as_by_the_plain_rule(text: str) -> None:
    (rule,) = (rule for rule in EVERYTHING.rules if "password" in rule.pattern)
    found = PLAIN.search(text)
    named = found is not None and any(map(str.isdigit, found["secret"]))
    assert (rule.mask(text) != text) is named


_PARTS = (
    "sk-",
    "gsk_",
    "whsec_",
    "ya29.",
    "SG.",
    "AGE-SECRET-KEY-",
    "w",
    "s",
    FAKE,
    "_",
    "-",
    ".",
    " ",
    "(",
    "\n",
)


@given(st.lists(st.sampled_from(_PARTS), max_size=8).map("".join), st.sampled_from(KEYS[:2]))
def test_a_prefix_counts_where_a_word_begins(text: str, rule: Rule) -> None:
    plain = "|".join(map(re.escape, rule.hints))
    assert rule.mask(text) == re.sub(rf"(?<![\w-])(?:{plain})[\w.-]{{15,}}\w", "[key]", text)


_GAP = r"[ \u00a0\u2000-\u200b\u202f\u205f\u2060\u3000\u2010-\u2015\u2212\ufeff-]"
_DOT_OR_GAP = rf"(?:[.]|{_GAP})"
# The rules on numbers as one would write them, if it were not for their speed.
_PLAIN = {
    "ssn": rf"(?<![\w.-])\d{{3}}{_GAP}\d{{2}}{_GAP}\d{{4}}(?![\w-])",
    "card": rf"(?<![\w.-])(?<!\d{_GAP})\d(?:{_GAP}?\d){{12,18}}(?!{_GAP}?\d)(?![\w-])",
    "phone": rf"(?<![\w.-])(?:1{_DOT_OR_GAP})?\d{{3}}{_DOT_OR_GAP}\d{{3}}{_DOT_OR_GAP}\d{{4}}(?![\w-])",
}
_DIGIT_PARTS = st.sampled_from(
    ["1", "4", "12", "345", "6789", "411111111111111", " ", "\u00a0", "-", ".", "a", "é", "\n"]
)


@given(st.lists(_DIGIT_PARTS, max_size=12).map("".join), st.sampled_from(["ssn", "card", "phone"]))
def test_numbers_are_found_as_by_the_plain_form(text: str, name: str) -> None:
    begins = {"ssn": r"(?<![\w.-])", "card": r"(?<![\w.-])\d(?<!\d", "phone": r"(?<![\w.-])(?:1"}[name]
    (rule,) = (
        each
        for each in EVERYTHING.rules
        if each.name == name and each.pattern.replace("0-9A-Z_a-z", "").startswith(begins)
    )
    agrees = rule.check or bool
    expected = re.sub(_PLAIN[name], lambda match: f"[{name}]" if agrees(match[0]) else match[0], text)
    assert rule.mask(text) == expected
