"""Keys and personal data, found by rules and replaced before text is stored or sent.

A rule's `hints` are what a text must contain for the rule to be worth trying: they keep the scan of a
long prompt as cheap as a few substring searches.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from .blobs import carried
from .errors import SettingsError

Check = Callable[[str], bool]

_DIGITS = re.compile(r"\d[\d ()./-]{5,}\d")
SHORT = 100  # names and paths come again and again
_ESCAPES = re.compile(r'\\["\\/bfnrt]')


def _luhn(text: str) -> bool:
    digits = [int(c) for c in text if c.isdigit()]
    doubled = sum(sum(divmod(2 * d, 10)) for d in digits[-2::-2])
    return (sum(digits[-1::-2]) + doubled) % 10 == 0


def _mod97(text: str) -> bool:
    compact = re.sub(r"[ -]", "", text).upper()
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


@dataclass(frozen=True)
class Rule:
    """What is masked: every match of `pattern`, if `check` agrees, becomes "[name]".

    At least one of the `hints` must stand in a text for the pattern to be tried, and a long number for
    one that is `numeric`; without either it is always tried.
    """

    name: str
    pattern: str
    hints: tuple[str, ...] = ()
    check: Check | None = field(default=None, compare=False)
    numeric: bool = False

    def __post_init__(self) -> None:
        try:
            _compiled(self.pattern)
        except re.error as error:
            raise SettingsError(
                f"The masking rule {self.name!r} is no regular expression: {error}."
            ) from None

    def mask(self, text: str) -> str:
        def replaced(match: re.Match[str]) -> str:
            return f"[{self.name}]" if self.check is None or self.check(match[0]) else match[0]

        return _compiled(self.pattern).sub(replaced, text)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


_PREFIXES = ("sk-", "pk-lf-", "rk_", "sk_", "gsk_", "hf_", "xai-", "tgp_", "r8_", "dop_v1_")

KEYS: tuple[Rule, ...] = (
    Rule("key", r"(?<![\w-])(?:" + "|".join(_PREFIXES) + r")[\w-]{16,}", _PREFIXES),
    Rule("key", r"\b(?:gh[pousr]|github_pat)_\w{20,}", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "b_pat_")),
    Rule("key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b", ("AKIA", "ASIA")),
    Rule("key", r"\bAIza[\w-]{35}", ("AIza",)),
    Rule("key", r"\bxox[abeprs]-[\w-]{10,}", ("xox",)),
    Rule("key", r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+", ("eyJ",)),
    Rule("key", r"(?<=Bearer )[\w.~+/-]{16,}=*", ("Bearer ",)),
    Rule("key", r"(?<=://)[^\s/:@\"]+:[^\s/@\"]+(?=@)", ("://",)),
    Rule(
        "key",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
        ("-----B",),
    ),
)
"""What looks like a secret: provider keys, tokens, passwords in addresses, private keys."""

PERSONAL: tuple[Rule, ...] = (
    Rule("email", r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}", ("@",)),
    Rule(
        "iban",
        r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?\b",
        check=_mod97,
        numeric=True,
    ),
    Rule("card", r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])", check=_luhn, numeric=True),
    Rule("ssn", r"(?<![\w.-])\d{3}-\d{2}-\d{4}(?![\w-])", numeric=True),
    Rule(
        "phone",
        r"(?<![\w.+])(?<!\d[ -])(?:\+|00)\d[\d ()./-]{6,16}\d(?!\w)"
        r"|(?<!\w)\(\d{2,5}\) ?\d[\d -]{4,10}\d(?!\w)"
        r"|(?<![\w.-])\d{3}[-. ]\d{3}[-. ]\d{4}(?![\w-])",
        numeric=True,
    ),
)
"""Personal data with a form of its own: e-mail, IBAN, payment card, US social security number, phone."""


class Masker:
    """Replaces what its rules find; the same text comes back where they find nothing."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        self._hints = [(hint, number) for number, rule in enumerate(self.rules) for hint in rule.hints]
        self._numeric = [n for n, rule in enumerate(self.rules) if rule.numeric and not rule.hints]
        self._always = [n for n, rule in enumerate(self.rules) if not rule.numeric and not rule.hints]
        self._short = lru_cache(maxsize=4096)(self._masked)

    def text(self, text: str) -> str:
        """Mask plain text."""
        return self._short(text) if len(text) <= SHORT else self._masked(text)

    def _masked(self, text: str) -> str:
        tried = {number for hint, number in self._hints if hint in text}
        if self._numeric and _DIGITS.search(text) is not None:
            tried.update(self._numeric)
        tried.update(self._always)
        for number in sorted(tried):
            text = self.rules[number].mask(text)
        return text

    def json(self, text: str) -> str:
        """Mask what a JSON text says, and return JSON; text that is no JSON is masked as text."""
        flat = _ESCAPES.sub(" ", text) if "\\" in text else text
        if self.text(flat) == flat:
            return text
        try:
            value = json.loads(text)
        except ValueError:
            return carried(text, self.text(text))
        return carried(text, json.dumps(self.value(value), ensure_ascii=False))

    def value(self, value: Any) -> Any:
        """Mask plain data: lists, dictionaries with their keys, texts and numbers."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {
                self.text(key) if isinstance(key, str) else key: self.value(v) for key, v in value.items()
            }
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**6:
            masked = self.text(str(value))
            return value if masked == str(value) else masked
        return value


NO_KEYS = Masker(KEYS)
EVERYTHING = Masker((*KEYS, *PERSONAL))
