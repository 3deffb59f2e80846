"""A report as JUnit XML: a test case for each trial and for each gate."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement, tostring

from .sections import problem_of
from .summary import Report

FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_junit(report: Report) -> str:
    """Return JUnit XML. Where gates decide, a trial that failed is told as skipped, a gate as failed."""
    decided = bool(report.gates)
    suite = Element("testsuite", name=_text(report.header.suite))
    for trial in report.trials:
        name = trial.case if report.header.repeats == 1 else f"{trial.case}[{trial.repeat}]"
        case = SubElement(
            suite,
            "testcase",
            classname=_text(report.header.suite),
            name=_text(name),
            time=f"{trial.seconds:.3f}",
        )
        if not trial.passed:
            kind = "skipped" if decided else "failure"
            SubElement(case, kind, message=_text(problem_of(trial))).text = _text(f"thread {trial.thread}")
    for ruling in report.gates:
        case = SubElement(suite, "testcase", classname="gates", name=_text(str(ruling.gate)), time="0")
        if ruling.status == "failed":
            SubElement(case, "failure", message=_text(f"{ruling.measured}. {ruling.why}".strip(". ")))
        elif ruling.status == "skipped":
            SubElement(case, "skipped", message=_text(ruling.why))
    if not report.complete:
        case = SubElement(suite, "testcase", classname="gates", name="complete", time="0")
        SubElement(case, "error", message=f"{len(report.trials)} of {report.wanted} trials ran")
    tags = {"tests": "testcase", "failures": "failure", "skipped": "skipped", "errors": "error"}
    for attribute, tag in tags.items():
        suite.set(attribute, str(len(list(suite.iter(tag)))))
    root = Element("testsuites")
    root.append(suite)
    return tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _text(text: str) -> str:
    """Return the text without what XML cannot hold."""
    return FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
