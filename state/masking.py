"""Keys and personal data, found by rules and replaced before text is stored or sent.

A rule's `hints` are what a text must contain for the rule to be worth trying: they keep the scan of a
long prompt as cheap as a few substring searches.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any

from . import keys_in_use
from .blobs import carried
from .errors import SettingsError
from .keys_in_use import without_keys

Check = Callable[[str], bool]

_DIGITS = re.compile(r"\d(?:\D{0,3}\d){6}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")  # is nobody's number
MOST_CHECKS = 2000  # of a rule in one text
SHORT = 100  # names and paths come again and again
_ESCAPES = re.compile(r'\\["\\/bfnrt]')


# Characters that few texts have, the rarest first.
_RARE = "\uff20&%@#{}<>()]/_-QXZJjqxzKVWYUGBFHPMDLOCRNSITAE0123456789:."

_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def _has_long_number(text: str) -> bool:
    """Tell whether there are seven digits close together, not counting the id of something."""
    if text.isascii() and sum(map(text.count, "0123456789")) < 7:
        return False
    return _DIGITS.search(text) is not None and not _UUID.fullmatch(text)


def _luhn(text: str) -> bool:
    digits = [int(c) for c in text if c.isdigit()]
    return (sum(digits[-1::-2]) + sum(map(_DOUBLED.__getitem__, digits[-2::-2]))) % 10 == 0


def _mod97(text: str) -> bool:
    compact = "".join(filter(str.isalnum, text)).upper()
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def _is_national(text: str) -> bool:
    """Tell whether a number that begins with 0 is as long as phone numbers are, and not just counted up."""
    pairs = [int(pair) for pair in re.findall(r"\d\d", text)]
    counted = all(after - before == 1 for before, after in pairwise(pairs))
    is_zip = re.fullmatch(r"\d{5}-\d{4}", text) is not None
    return 9 <= sum(map(str.isdigit, text)) <= 12 and not counted and not is_zip


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
        """Mask what the rule finds. In a text with too much to check, the rest of it is not checked."""
        label, check = f"[{self.name}]", self.check
        pattern = _compiled(self.pattern)
        part = pattern.groupindex.get("secret", 0)
        end = checked = 0

        def masked(match: re.Match[str]) -> str:
            return match[0].replace(match[part], label) if part else label

        def replaced(match: re.Match[str]) -> str:
            nonlocal end, checked
            end, checked = match.end(), checked + 1
            return masked(match) if check is None or check(match[part]) else match[0]

        plain = masked if part else label.replace("\\", r"\\")
        if check is None:
            return pattern.sub(plain, text)
        done = pattern.sub(replaced, text, count=MOST_CHECKS)
        if checked < MOST_CHECKS:
            return done
        return done[: len(done) - len(text) + end] + pattern.sub(plain, text[end:])


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


# Blanks, dots and dashes as people, pages and office programs write them between digits.
_GAPS = r" \u00a0\u2000-\u200b\u202f\u205f\u2060\u3000\u2010-\u2015\u2212\ufeff-"
_GAP = f"[{_GAPS}]"
# Digits one by one, which is faster than a count.
_2, _3, _4 = (r"\d" * count for count in (2, 3, 4))
_GROUPS = f"{_GAP}?+{_4}" * 3
_GAP_OR_DOT = f"(?:{_GAP}{_GAP}?+|[.·/])"

# In two parts, which a long text is looked through for one after the other: many prefixes at once are slow.
_PREFIXES = (
    "sk-", "pk-lf-", "rk_", "sk_", "gsk_", "hf_", "xai-", "tgp_", "r8_", "dop_v1_", "glpat-", "npm_", "pypi-",
)  # fmt: skip
_MORE_PREFIXES = (
    "whsec_", "pplx-", "nvapi-", "csk-", "tvly-", "jina_", "lin_api_", "figd_", "glsa_", "sntrys_", "shpat_",
    "dckr_pat_", "rpa_", "fw_", "xapp-", "ATATT", "ya29.", "SG.", "hvs.", "AGE-SECRET-KEY-",
)  # fmt: skip
# A name is looked for from its end, and only where a secret follows. What is looked back for has one length.
_NAMES = (
    *(
        f"{whose}{gap}{what}"
        for whose in ("api", "access", "account", "secret", "private", "auth")
        for gap in ("", "[-_ ]")
        for what in ("key", "token")
    ),
    "aws[-_]secret",
    "client[-_]secret",
    "password",
)
_NAMED = "|".join(f"(?<={name})(?<![a-z]{name})" for name in _NAMES)


# With the letters that most texts have before all others: that is faster.
_W = r"0-9A-Z_a-z\w"


def _written(sign: str) -> str:
    """Return the pattern of a sign in brackets, as people write it so that no program finds an address."""
    return rf"[\[({{<] {{0,2}}+(?:{sign}) {{0,2}}+[\])}}>] {{0,2}}+"


_DOT = "|".join((r"\.", *(f"{blanks}{_written('dot|DOT|Dot|[.]')}" for blanks in ("", "[ ] ?+"))))
_DOMAIN = r"[\w-]{1,63}+\.[\w-]{1,63}+(?:\.[\w-]{1,63}+){0,7}"
_WRITTEN_DOMAIN = rf"[\w-]{{1,63}}+(?:{_DOT})[\w-]{{1,63}}+(?:(?:{_DOT})[\w-]{{1,63}}+){{0,7}}"


def _is_no_version(text: str) -> bool:
    """Tell whether a domain does not end like the version of a package."""
    return not text.rpartition(".")[2].isdigit()


def _begin(prefixes: Sequence[str]) -> str:
    """Return the pattern of a prefix at a word's begin. To begin with a set of characters is fast."""
    first = "".join(sorted({prefix[0] for prefix in prefixes}))
    rest = "|".join(f"{re.escape(prefix[1:])}(?<={re.escape(prefix)})" for prefix in prefixes)
    return rf"[{first}](?<![\w-].)(?:{rest})"


def _has_digit(text: str) -> bool:
    return any(character.isdigit() for character in text)


KEYS: tuple[Rule, ...] = (
    *(Rule("key", _begin(prefixes) + r"[\w.-]{15,}\w", prefixes) for prefixes in (_PREFIXES, _MORE_PREFIXES)),
    Rule("key", r"(?<![\w-])sk-ant-[\w-]{6,}", ("sk-ant-",)),
    Rule("key", r"\b(?:gh[pousr]|github_pat)_\w{20,}", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "b_pat_")),
    Rule("key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b", ("AKIA", "ASIA")),
    Rule("key", r"\bAIza[\w-]{30,}", ("AIza",)),
    Rule("key", r"\bxox[abeprs]-[\w-]{10,}", ("xox",)),
    Rule("key", r"(?<=hooks\.slack\.com/)\w+/[\w/]{16,}", ("hooks.slack.com/",)),
    Rule("key", r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+", ("eyJ",)),
    Rule("key", r"(?<=earer )[\w.~+/-]{16,}=*|(?<=EARER )[\w.~+/-]{16,}=*", ("earer ", "EARER ")),
    Rule(
        "key",
        r"(?<=asic )[\w+/-]{12,}={0,2}(?![\w+/-])",
        ("Basic ", "basic "),
        check=lambda text: text.endswith("=") or (_has_digit(text) and text.lower() != text),
    ),
    Rule(
        "key",
        r"[yYnNtTdD](?=[\"'=: ])(?=[\"']?[=: ]{1,3}[\"']?[\w+/.~-]{16})"
        rf"(?i:{_NAMED})[\"']?[=: ]{{1,3}}[\"']?(?P<secret>[\w+/.~-]{{16,}}={{0,2}})",
        ("key", "Key", "KEY", "oken", "OKEN", "ecret", "ECRET", "assword", "ASSWORD"),
        check=_has_digit,
    ),
    Rule("key", r"(?<=://)[^\s/?#\"<>\\]+(?=@)", ("://",)),
    Rule(
        "key",
        r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|$)",
        ("-----B",),
    ),
)
"""What looks like a secret: provider keys, tokens, passwords in addresses, private keys."""

PERSONAL: tuple[Rule, ...] = (
    Rule(
        "email",
        rf"(?<![{_W}.+%-])[{_W}.+%-]++[@\uff20]{_DOMAIN}",
        ("@", "\uff20"),
        check=_is_no_version,
    ),
    Rule("email", rf"(?<![{_W}.+%-])[{_W}.+%-]+%(?<=\w%)40{_DOMAIN}", ("%40",), check=_is_no_version),
    Rule(
        "email",
        rf"(?<![{_W}.+-])[{_W}.+-]++(?:@localhost\b|&(?:#64|#[xX]40|commat);{_WRITTEN_DOMAIN})",
        ("@localhost", "&#", "&commat;"),
    ),
    Rule(
        "email",
        rf"(?<![{_W}.+-])[{_W}.+-]++ {{0,2}}+{_written('[aA][tT]|@')}{_WRITTEN_DOMAIN}",
        ("at]", "at)", "at}", "at>", "at ", "AT", "At", "@]", "@)"),
    ),
    Rule(
        "email",
        r"(?<![\w\"])\"\w(?:[^\"\n]{0,62}\w)?\"(?:@|\uff20)(?:[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}|localhost\b)",
        ('"@', '"\uff20'),
    ),
    Rule(
        "iban",
        rf"\b[A-Za-z]{{2}}\d{{2}}(?:{_GAP}?[A-Za-z0-9]{{4}}){{2,7}}(?:{_GAP}?[A-Za-z0-9]{{1,3}})?\b",
        check=_mod97,
        numeric=True,
    ),
    Rule(
        "card",
        rf"(?<![{_W}.-]){_4}(?:\d{{9,15}}|{_GAP_OR_DOT}{_4}(?:{_2}{_GAP_OR_DOT}\d{{4,5}}"
        rf"|{_GAP_OR_DOT}{_4}{_GAP_OR_DOT}{_4}(?:{_GAP_OR_DOT}\d{{1,3}})?))(?![{_W}-])",
        check=_luhn,
        numeric=True,
    ),
    Rule(
        "card",
        rf"(?<![{_W}.-])\d(?<!\d{_GAP}.)" + rf"{_GAP}?+\d" * 12 + rf"(?:{_GAP}?+\d)*+(?![{_W}-])",
        check=lambda text: len(text) < 40 and 12 < sum(map(str.isdigit, text)) < 20 and _luhn(text),
        numeric=True,
    ),
    Rule(
        "card",  # stuck to letters: only with a number that an issuer has
        rf"(?=\w)(?<![{_W}-])[^\W\d]{{0,12}}+(?=[2-6]{_3})(?P<secret>4{_3}{_GROUPS}"
        rf"|(?:5[1-5]|2[2-7]){_2}{_GROUPS}|3[47]\d{{13}}|6(?:011|5{_2}){_GROUPS})"
        rf"(?=[^\W\d]{{0,12}}+(?![{_W}-]))",
        check=_luhn,
        numeric=True,
    ),
    Rule("ssn", rf"(?<![{_W}.-]){_3}{_GAP}{_2}{_GAP}{_4}(?![{_W}-])", numeric=True),
    Rule(
        "phone",
        rf"(?=[+0])(?<![{_W}.+])(?<!\d[ -])(?:\+|00)[1-9][\d()./{_GAPS}]{{6,16}}\d(?!\w)",
        check=lambda text: sum(map(str.isdigit, text)) >= 8,
        numeric=True,
    ),
    Rule("phone", rf"(?=\()(?<!\w)\(\d{{2,5}}\){_GAP}?\d[\d{_GAPS}]{{4,10}}\d(?!\w)", numeric=True),
    Rule(
        "phone",
        rf"(?<![{_W}.-])(?:1[.{_GAPS}])?+{_3}[.{_GAPS}]{_3}[.{_GAPS}]{_4}(?![{_W}-])",
        numeric=True,
    ),
    Rule(
        "phone",  # national numbers: an area and the rest, all in one, or in pairs
        rf"0(?=\d[\d./{_GAPS}])(?<![{_W}.,-].)(?<!\d[ /].)"
        rf"(?:\d{{1,4}}+[/{_GAPS}]\d{{3,8}}(?:{_GAP}\d{{2,5}}){{0,3}}"
        rf"|[1-9](?:\d{{9}}|(?:{_GAP}{_2}){{4}}|(?:\.{_2}){{4}}))(?![{_W},.-]\d|{_GAP}\d|\w)",
        check=_is_national,
        numeric=True,
    ),
)
"""Personal data with a form of its own: e-mail, IBAN, payment card, US social security number, phone."""

# A database's user is no secret, and says which address is meant; with a password it is masked as a whole.
_USERINFO = Rule(
    "user",
    r"(?<=://)(?<!postgresql://)(?<!postgres://)[^\s/?#\"<>\\]+(?=@)"
    r"|(?<=://)[^\s/?#\"<>\\:@]*:[^\s/?#\"<>\\]+(?=@)",
)


def without_userinfo(text: str) -> str:
    """Return the text without users and passwords in the addresses that it names.

    A Postgres address keeps its user, unless a password stands beside it.
    """
    return _USERINFO.mask(text) if "://" in text and "@" in text else text


class Masker:
    """Replaces what its rules find; the same text comes back where they find nothing."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        # Most hints have a sign that few texts have: to look for one character is cheap, and without it none
        # of its hints is looked for.
        self._hints: dict[str, list[tuple[str, int]]] = {}
        for number, rule in enumerate(self.rules):
            for hint in rule.hints:
                sign = next((sign for sign in _RARE if sign in hint), "")
                self._hints.setdefault(sign, []).append((hint, number))
        self._numeric = [n for n, rule in enumerate(self.rules) if rule.numeric and not rule.hints]
        self._always = [n for n, rule in enumerate(self.rules) if not rule.numeric and not rule.hints]
        self._short = lru_cache(maxsize=4096)(self._mask)

    def text(self, text: str) -> str:
        """Mask plain text; the keys that this process uses are masked by whatever rules."""
        if len(text) <= SHORT:
            return self._short(text, keys_in_use.generation)
        return self._mask(text, keys_in_use.generation)

    def _mask(self, text: str, _: int) -> str:
        return self._masked(without_keys(text))

    def _masked(self, text: str) -> str:
        tried = {
            number
            for sign, hints in self._hints.items()
            if sign in text
            for hint, number in hints
            if hint in text
        }
        if self._numeric and _has_long_number(text):
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
        except (ValueError, RecursionError):
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
