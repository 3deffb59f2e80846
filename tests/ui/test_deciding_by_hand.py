"""Deciding in a real browser: on a phone, and by keyboard alone. What is typed is kept, and never runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .browser import NEEDS_BROWSER, chromium as chromium
from .conftest import TOKEN, Served
from .deciding import Recording, begin
from .runs import EVIL

pytestmark = NEEDS_BROWSER


@pytest.fixture
def phone(chromium: Any, desk: Served) -> Iterator[Any]:
    """Return a page of a phone's size that is let in; at the end, nothing hostile ran."""
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{desk.url}/?token={TOKEN}")
    yield page
    assert page.evaluate("window.pwned") is None
    assert errors == []
    context.close()


def fits(page: Any) -> bool:
    """Tell whether a page is no wider than the phone."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def test_a_review_is_two_taps_away(phone: Any, desk: Served, launcher: Recording, tmp_path: Path) -> None:
    begin(desk.session, tmp_path, "one", EVIL)
    phone.reload()
    phone.tap("#waits a")
    assert phone.inner_text("article.asked h2") == "Pay 49?"
    assert fits(phone)
    box = phone.locator("button.yes").first.bounding_box()
    assert box["height"] >= 44
    assert box["width"] >= 200
    phone.locator("button.yes").first.tap()
    phone.wait_for_selector(".begun")
    assert "Approved: “Pay 49?”. The run goes on." in phone.inner_text("main")
    assert launcher.wait_for(1)[0][0] == "approve"
    phone.tap(".begun a")
    phone.wait_for_selector(".waterfall")
    assert fits(phone)


def test_a_second_tap_does_not_decide_what_comes_next(
    phone: Any, desk: Served, launcher: Recording, tmp_path: Path
) -> None:
    begin(desk.session, tmp_path, "one")
    begin(desk.session, tmp_path, "two")
    phone.goto(f"{desk.url}/waiting")
    phone.locator("button.yes").first.tap()
    phone.wait_for_selector(".begun")
    phone.evaluate("shownAt = performance.now(); document.querySelector('button.yes').click()")
    phone.evaluate("shownAt = -1e9; document.querySelector('button.yes').click()")
    phone.wait_for_function("document.querySelectorAll('.begun').length === 2")
    assert {arguments[-1] for arguments in launcher.wait_for(2)} == {"one", "two"}
    assert len(launcher.arguments) == 2


def test_the_keyboard_is_enough_and_a_mistake_is_told(
    phone: Any, desk: Served, launcher: Recording, tmp_path: Path
) -> None:
    begin(desk.session, tmp_path, "one")
    phone.goto(f"{desk.url}/run?thread=one")
    phone.locator("summary", has_text="Change it").focus()
    phone.keyboard.press("Enter")
    form = phone.locator("form", has=phone.locator("input[value=edit]"))
    form.get_by_label("amount").fill("many")
    form.get_by_label("currency").select_option("USD")
    form.get_by_label("amount").press("Enter")
    phone.wait_for_selector("[role=alert]")
    assert "refund.amount: expected a whole number" in phone.inner_text("[role=alert]")
    form = phone.locator("form", has=phone.locator("input[value=edit]"))
    assert form.get_by_label("currency").input_value() == '"USD"'  # what was typed is kept
    form.get_by_label("amount").fill("7")
    form.get_by_label("amount").press("Enter")
    phone.wait_for_selector("p.going")
    assert (
        '--value={"to":"It never came.","amount":7,"currency":"USD","urgent":false}'
        in launcher.wait_for(1)[0]
    )
