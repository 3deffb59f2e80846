"""Each masking rule on 1 MiB of hostile text, and the keys in use: the slowest text of each. See the README here."""

# ruff: noqa: E501
from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable

from stepgraph.state.keys_in_use import remember, without_keys
from stepgraph.state.masking import EVERYTHING

SIZE = 2**20
SIGNS = 'aek415 0-.:@[]()+%&#=/\\"'
MOST_S = 0.05
KEY = "9aq8xW3pL5tR7nB2vKd9"
UNITS = (
    "-eyJaaaaaaaa", ".eyJaaaaaaaa.aaaaaaaa", "sk-", "sk-aaaaaaaaaaaaa ", "glpat-", "SG.a", "a.", "a@", "a@a.", "@", " a",
    "1 ", "1", "12 ", "123456 ", "4111111111111111 ", "4111 1111 1111 1111 ", "1 1 1 1 1 1 1 1 1 1 1 1 x ", "1\u00a0",
    "1111.1111.1111.", "+1 (2) ", "+1 2 3 4 5 6 7 8 9 1 2 3x", "(030) 1", "555-123-", "00", "123-45-", "AA11AAAA",
    "DE89 3704 0044 0532 0130 00 ", "DE89 3704 ", "://a:", "://a@", "a:", "Bearer ", "bearer aaaaaaaaaaaaaaa ",
    "Basic aaaaaaaaaaa ", "Basic aaaaaaaaaaaaaaaaa ", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "-----END ",
    "-----BEGIN A A A PRIVATE ", "api-key: ", "password=aaaaaaaaaaaaaaaaa ", "ghp_aaaaaaaaaaaaaaaaaaa ", "AKIA", "AIza",
    "xoxb-aaaaaaaaa ", "hooks.slack.com/a/", "a%40", "\n", "\u00e9", '"', "%5a", "\\u005a", "&#",
    "020 7946 ", "0170 1234567 ", "01 23 45 67 89 ", "0123456789012", "x4111111111111112 ", "aaaaaaaaaaaa4111 ", "a [at] ",
    "a[at]a[dot]", "a&#64;", "a  [ at ] ", "(@)", "(", " ", "1(", "@a", "a@b.de ", "0170/", "5500 0000 ", "555 123 456 ",
    "1234 5678 9012 345 ", "+49 30 1234567 ", "4", "y:", "a%5a", "%255a", "%", "%25", "\\x5a", "&#90;", "&#x5a;", "\\",
    KEY, f"{KEY} ", KEY.upper(), f"{KEY}%5a", f"{KEY.upper()}%5a", f"%{KEY[1:]}", "%01", '"a"@', '"a', "@localhost", "at ",
)  # fmt: skip


def random_units(count: int) -> list[str]:
    """Return units of the signs that rules look for, the same ones each time."""
    draw = random.Random(15)
    return ["".join(draw.choices(SIGNS, k=draw.randint(2, 12))) for _ in range(count)]


def slowest(work: Callable[[str], object]) -> tuple[float, str]:
    """Return the longest time that a text of 1 MiB takes, the best of three, and what it is made of."""
    worst = (0.0, "")
    for unit in (*UNITS, *random_units(40)):
        for text in ((unit * (SIZE // len(unit) + 1))[:SIZE], "a" * (SIZE - len(unit)) + unit):
            times = []
            for _ in range(3):
                start = time.process_time()
                work(text)
                times.append(time.process_time() - start)
                if times[-1] < worst[0]:
                    break
            worst = max(worst, (min(times), unit))
    return worst


def main() -> int:
    remember(KEY)
    late = 0
    for number, rule in enumerate(EVERYTHING.rules):
        seconds, unit = slowest(rule.mask)
        late += seconds > MOST_S
        print(f"{number:>3} {rule.name:6} {seconds * 1000:6.1f} ms  {unit[:30]!r}")
    seconds, unit = slowest(without_keys)
    print(f"keys in use {seconds * 1000:6.1f} ms  {unit[:30]!r}")
    print(f"{late} rules take more than {MOST_S * 1000:.0f} ms.")
    return bool(late)


if __name__ == "__main__":
    sys.exit(main())
