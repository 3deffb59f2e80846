"use strict";
// Keys, folding, and pages that follow a run. Every page works without it.

const LIVE_MS = 1000;
const byId = (id) => document.getElementById(id);

function visibleRows() {
  return [...document.querySelectorAll("[data-row]")].filter((row) => {
    for (let at = row.closest("details"); at; at = at.parentElement.closest("details")) {
      if (!at.open && !at.querySelector(":scope > summary").contains(row)) return false;
    }
    return true;
  });
}

function move(by) {
  const rows = visibleRows();
  const at = rows.indexOf(document.activeElement);
  const row = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by))];
  if (row) {
    row.focus();
    row.scrollIntoView({ block: "nearest" });
  }
}

function foldAll(open) {
  for (const details of document.querySelectorAll(".waterfall details, details.step")) details.open = open;
}

function follow(rel) {
  const link = document.querySelector(`a[rel="${rel}"]`);
  if (link) link.click();
}

const KEYS = {
  j: () => move(1),
  k: () => move(-1),
  o: () => {
    const details = document.activeElement.closest("details");
    if (details) details.open = !details.open;
  },
  e: () => foldAll(true),
  c: () => foldAll(false),
  n: () => follow("next"),
  p: () => follow("prev"),
  u: () => follow("up"),
  "/": () => byId("q") && byId("q").focus(),
  "?": () => byId("help") && byId("help").showModal(),
};

function keysAreOn() {
  try {
    return localStorage.getItem("stepgraph-keys") !== "off";
  } catch {
    return true;
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !keysAreOn()) return;
  if (event.target.closest("input, textarea, select, dialog")) return;
  const act = KEYS[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});

function setUp() {
  const help = byId("help");
  if (help) {
    byId("help-button").addEventListener("click", () => help.showModal());
    const on = byId("keys-on");
    on.checked = keysAreOn();
    on.addEventListener("change", () => {
      try {
        localStorage.setItem("stepgraph-keys", on.checked ? "on" : "off");
      } catch {}
    });
  }
  pick();
  copies();
  reveal();
}

// A command can be copied, where the browser lets a page do that.
function copies() {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("button.copy")) button.hidden = false;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  await navigator.clipboard.writeText(button.previousElementSibling.textContent);
  button.textContent = "Copied";
  if (byId("said")) byId("said").textContent = "Copied.";
});

const TAP_MS = 600;
let shownAt = 0;
addEventListener("DOMContentLoaded", () => (shownAt = performance.now()));

// A form that changes something is sent once, however often its button is pressed.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post") return;
  // The second tap of two must not decide what has taken the place of what the first one decided.
  const isLate = document.querySelector(".begun") && performance.now() - shownAt < TAP_MS;
  if (event.target.dataset.sent || isLate) event.preventDefault();
  if (isLate) return;
  event.target.dataset.sent = "1";
  for (const button of event.target.querySelectorAll("button")) button.setAttribute("aria-disabled", "true");
});
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// Only two runs can be compared.
function pick() {
  const form = byId("pick");
  if (!form) return;
  const boxes = [...form.querySelectorAll('input[name="thread"]')];
  const check = () => {
    const ticked = boxes.filter((box) => box.checked).length;
    byId("compare").disabled = ticked !== 2;
    for (const box of boxes) box.disabled = ticked >= 2 && !box.checked;
  };
  form.addEventListener("change", check);
  check();
}

// What an address points at is unfolded and focused.
function reveal() {
  const target = location.hash.length > 1 ? byId(decodeURIComponent(location.hash.slice(1))) : null;
  if (!target || target.id === "top") return;
  for (let at = target.closest("details"); at; at = at.parentElement.closest("details")) at.open = true;
  target.scrollIntoView({ block: "center" });
  (target.tagName === "DETAILS" ? target.querySelector("summary") : target).focus({ preventScroll: true });
}
addEventListener("hashchange", reveal);

// A page with data-live asks whether something is new, and takes over what changed without losing the place.
async function watch() {
  let seen = document.querySelector("main").dataset.version;
  for (;;) {
    await new Promise((done) => setTimeout(done, LIVE_MS));
    const where = document.querySelector("main").dataset.live;
    if (!where) return;
    if (document.hidden || document.activeElement.closest("input:not([type=checkbox]), select, textarea, form.filters")) continue;
    if (document.querySelector('#pick input:checked, dialog[open]')) continue;
    try {
      const answer = await fetch(where, { cache: "no-store" });
      if (answer.status === 403) return;
      const version = await answer.text();
      if (!answer.ok || version === seen) continue;
      const first = seen === undefined;
      seen = version;
      if (first) continue;
      // Where somebody decides, nothing may move under their finger, nor what they typed be lost.
      if (document.querySelector(".asked form, details.way[open]") && byId("newer")) byId("newer").hidden = false;
      else await refresh();
    } catch {
      // The server is gone; it may come back.
    }
  }
}

async function refresh() {
  const answer = await fetch(location.href, { cache: "no-store" });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
  const main = document.querySelector("main");
  for (const details of main.querySelectorAll("details[id]")) {
    const same = fresh.querySelector(`#${CSS.escape(details.id)}`);
    if (same) same.open = details.open;
  }
  const focused = main.contains(document.activeElement) ? document.activeElement.id : "";
  const drawing = main.querySelector(".drawing");
  const scrolled = drawing ? [drawing.scrollLeft, drawing.scrollTop] : null;
  main.replaceWith(document.adoptNode(fresh));
  if (scrolled && fresh.querySelector(".drawing")) fresh.querySelector(".drawing").scrollTo(...scrolled);
  if (focused && byId(focused)) byId(focused).focus({ preventScroll: true });
  pick();
  copies();
  if (byId("said")) byId("said").textContent = fresh.dataset.live ? "Updated." : "The run has ended.";
}

addEventListener("DOMContentLoaded", () => {
  setUp();
  if (document.querySelector("main[data-live]")) watch();
});
