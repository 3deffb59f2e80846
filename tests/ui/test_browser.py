"""The pages in a real browser: clicked through, by keyboard alone, live, hostile; nothing goes elsewhere.

Skipped where there is no Chromium: `apt-get install chromium`, or name one with STEPGRAPH_TEST_BROWSER.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from langgraph.graph import StateGraph

from stepgraph import ScriptedModel, using
from stepgraph.state.masking import EVERYTHING
from stepgraph.ui.exporting import to_html
from stepgraph.ui.records import Reader

from .browser import NEEDS_BROWSER, chromium as chromium
from .conftest import TOKEN, Served
from .runs import EVIL, Note, reply_to, run_blog, run_hostile

pytestmark = NEEDS_BROWSER


@pytest.fixture
def page(chromium: Any, served: Served) -> Iterator[Any]:
    """Return a page that is let in; at the end, it must have asked nobody else and told no errors."""
    asked: list[str] = []
    errors: list[str] = []
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.goto(f"{served.url}/?token={TOKEN}")
    yield page
    assert page.evaluate("window.pwned") is None
    context.close()
    assert {urlsplit(url).hostname for url in asked if not url.startswith("file:")} == {"127.0.0.1"}
    assert errors == []


def test_the_address_loses_its_token(page: Any, served: Served) -> None:
    assert page.url == f"{served.url}/"
    assert page.evaluate("document.cookie") == ""


def test_it_is_clicked_through(page: Any, served: Served) -> None:
    run_blog(served.session, "one", verdicts=(False, True))
    run_blog(served.session, "two", "A bad post.")
    page.reload()
    page.click("a:text-is('one')")
    assert page.inner_text("h1").startswith("one")
    page.click("svg a[aria-label^='howto/plan']")
    assert "Outline a how-to on tea." in page.inner_text("main")
    page.click("a[rel=next]")
    page.click("a[rel=up]")
    page.fill("#q", "outline a how-to")
    page.click("button:text-is('Find')")
    assert page.locator("[data-row]").first.inner_text() == "plan"
    page.click("nav a:text-is('Runs')")
    for box in page.locator("input[name=thread]").all():
        box.check()
    page.click("#compare")
    assert "First difference" in page.inner_text("main")


def test_only_two_runs_can_be_ticked(page: Any, served: Served) -> None:
    for thread in ("one", "two", "three"):
        run_blog(served.session, thread)
    page.reload()
    boxes = page.locator("input[name=thread]")
    assert page.is_disabled("#compare")
    boxes.nth(0).check()
    boxes.nth(2).check()
    assert boxes.nth(1).is_disabled()
    assert page.is_enabled("#compare")


NARROW = """
[...document.querySelectorAll("main td, main th, main dd, main li, main a, main .said")].filter((each) => {
  const wide = each.getBoundingClientRect().width;
  return wide > 0 && wide < 44 && each.innerText.length > 10;
}).map((each) => each.innerText)
"""


def test_a_run_is_found_and_compared_with_one_far_below(page: Any, served: Served) -> None:
    for number in range(14):
        run_blog(served.session, f"run-{number:02}", f"A post on number {number}.")
    page.reload()
    page.fill("#q", "ON NUMBER 3")
    page.keyboard.press("Enter")
    page.wait_for_selector("mark")
    assert page.inner_text("mark") == "on number 3"
    assert page.locator("[data-row]").all_inner_texts() == ["run-03"]
    page.click("a[aria-label='Remove the filter words']")
    page.wait_for_selector("text=run-13")
    boxes = page.locator("input[name=thread]")
    boxes.nth(0).check()
    boxes.nth(13).check()  # it scrolls there
    assert page.evaluate("scrollY") > 0
    box = page.locator("#compare").bounding_box()
    assert 0 <= box["y"] <= 900, "the button stands where the ticks are"
    page.click("#compare")
    assert "A post on number 13." in page.inner_text("main")


def test_nothing_is_too_narrow_on_a_phone(page: Any, served: Served) -> None:
    name = "a-thread-whose-name-is-longer-than-others"
    for thread in (name, "two"):
        run_blog(served.session, thread, f"A post of {thread}, which is quite long.")
    page.set_viewport_size({"width": 390, "height": 800})
    for path in ("/", "/?q=post", "/charts", f"/compare?thread={name}&thread=two"):
        page.goto(served.url + path)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert (path, wide) == (path, 390)
        assert (path, page.evaluate(NARROW)) == (path, [])
        assert name in page.inner_text("main") or path == "/charts"


def test_the_keyboard_is_enough(page: Any, served: Served) -> None:
    run_blog(served.session, "one")
    page.reload()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("j")
    with page.expect_navigation():  # until the page's script listens to keys
        page.keyboard.press("Enter")
    page.wait_for_selector(".waterfall")
    for _ in range(3):
        page.keyboard.press("j")
    assert page.evaluate("document.activeElement.innerText") == "howto"
    page.keyboard.press("o")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.innerText") == "howto", "what it holds is folded away"
    page.keyboard.press("e")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.innerText") == "plan"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.wait_for_selector("article.call")
    with page.expect_navigation():
        page.keyboard.press("n")
    with page.expect_navigation():
        page.keyboard.press("u")
    page.wait_for_selector(".waterfall")
    assert page.evaluate("document.activeElement.id").startswith("w-"), "back at the step it came from"
    page.keyboard.press("/")
    page.keyboard.type("jku")
    assert page.input_value("#q") == "jku"
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    assert page.is_visible("#help")
    page.uncheck("#keys-on")
    page.keyboard.press("Escape")
    page.keyboard.press("u")
    assert page.is_visible(".waterfall"), "single keys are off"
    page.click("#help-button")
    page.check("#keys-on")


def test_a_run_is_watched_while_it_goes_on(page: Any, served: Served) -> None:
    go_on = threading.Event()

    def wait(note: Note) -> dict[str, str]:
        assert go_on.wait(20)
        return {"text": "waited"}

    graph = StateGraph(Note)
    graph.add_node("reply", reply_to)
    graph.add_node("wait", wait)
    graph.add_node("again", reply_to)
    for edge in (("__start__", "reply"), ("reply", "wait"), ("wait", "again"), ("again", "__end__")):
        graph.add_edge(*edge)

    def run() -> None:
        with using(ScriptedModel(["one", "two"])):
            graph.compile().invoke(Note("hello"), served.session.config("live"))

    running = threading.Thread(target=run)
    running.start()
    try:
        page.click("a:text-is('live')")  # the list follows, too
        page.wait_for_selector("h1 .running")
        page.wait_for_selector("[data-row]:text('reply')")
        page.focus("[data-row]:text('reply')")
        assert page.locator("[data-row]:text('again')").count() == 0
    finally:
        go_on.set()
        running.join()
    page.wait_for_selector("h1 .done")
    assert page.locator("[data-row]:text('again')").count() == 1
    assert page.evaluate("document.activeElement.innerText") == "reply", "the focus stays where it was"
    assert page.get_attribute("main", "data-live") is None


@pytest.mark.slow
def test_hostile_texts_do_nothing(page: Any, served: Served) -> None:
    run_hostile(served.session)
    page.reload()
    page.click("th a")
    assert EVIL[:40] in page.inner_text("h1")
    page.click("svg a")
    assert EVIL[:40] in page.inner_text("article.call")
    page.click("text=/All \\d+ characters/ >> nth=0")
    assert page.evaluate("document.contentType") == "text/plain"
    assert page.locator("script, img").count() == 0


@pytest.mark.slow
def test_the_saved_file_needs_nothing_else(page: Any, served: Served, tmp_path: Path) -> None:
    run_blog(served.session, "one")
    run_hostile(served.session)
    for thread in ("one", EVIL):
        file = tmp_path / "run.html"
        file.write_text(to_html(Reader(served.session).run(thread), EVERYTHING), encoding="utf-8")
        page.goto(file.as_uri())
        assert page.evaluate("getComputedStyle(document.body).margin") == "0px", "its style holds"
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        assert page.locator("details.step[open]").count() == 1, "its script holds"
        assert page.evaluate("window.pwned") is None


def test_its_own_script_would_not_run_if_it_were_another(page: Any, served: Served, tmp_path: Path) -> None:
    run_blog(served.session, "one")
    text = to_html(Reader(served.session).run("one"), EVERYTHING)
    file = tmp_path / "run.html"
    file.write_text(text.replace("</body>", "<script>window.pwned = 1</script></body>"), encoding="utf-8")
    other = page.context.new_page()
    other.goto(file.as_uri())
    assert other.evaluate("window.pwned") is None
    other.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_and_told_apart(page: Any, served: Served, scheme: str) -> None:
    run_blog(served.session, "one")
    page.emulate_media(color_scheme=scheme)
    span = next(bar.span.id for bar in Reader(served.session).run("one").steps if bar.span.name == "plan")
    for path in ("/", "/run?thread=one", f"/step?thread=one&span={span}", "/compare?thread=one&thread=one"):
        page.goto(served.url + path)
        assert page.evaluate(UNREADABLE) == []
        assert page.evaluate(UNNAMED) == []
        assert page.locator("h1").count() == page.locator("main").count() == 1
        levels = page.evaluate(
            "[...document.querySelectorAll('main :is(h1,h2,h3,h4,h5)')].map(h => +h.tagName[1])"
        )
        assert all(after - before <= 1 for before, after in pairwise(levels))


def test_a_narrow_window_does_not_scroll_sideways(page: Any, served: Served) -> None:
    run_blog(served.session, "one")
    page.set_viewport_size({"width": 400, "height": 800})
    for path in ("/", "/run?thread=one"):
        page.goto(served.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 400


# Texts with a contrast of less than 4.5 to what is behind them.
UNREADABLE = """() => {
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = parts(color).map((part) => {
      const v = part / 255;
      return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (parts(color)[3] !== 0) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  for (const element of document.querySelectorAll("body *:not(svg *)")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || element.closest("dialog, :disabled")) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(behind(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) found.push(`${element.tagName}.${element.className} ${contrast.toFixed(1)}`);
  }
  return found;
}"""

# Links, buttons and fields without a name.
UNNAMED = """() => [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select")]
  .filter((e) => !(e.innerText || e.textContent).trim() && !e.getAttribute("aria-label"))
  .filter((e) => !(e.labels && e.labels.length))
  .map((e) => e.outerHTML)"""
