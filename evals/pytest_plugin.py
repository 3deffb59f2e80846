"""The pytest plugin: `*.eval.yaml` and `*.eval.jsonl` are collected, one item a case and one for the gates.

Nothing but pytest is imported until such a file is collected. Where gates decide, a case that failed
is an expected failure, and the gates' item passes or fails. Under pytest-xdist all workers share one
run: each trial is run by one of them, and the gates' item runs or waits for what is missing.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .files.results import Trial
    from .running.runner import Runner
    from .suite.model import Case, Suite

_TOKEN = pytest.StashKey[str]()
ENDINGS = (".eval.yaml", ".eval.yml", ".eval.jsonl")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("stepgraph", "stepgraph's eval suites (*.eval.yaml, *.eval.jsonl)")
    group.addoption(
        "--eval-model",
        action="append",
        default=[],
        metavar="[ROLE=]SPEC",
        help="A model for a role, or all.",
    )
    group.addoption("--eval-db", metavar="FILE", help="Keep the runs' record in this SQLite file.")
    group.addoption("--eval-results", metavar="FOLDER", help="Keep the results in this folder.")
    group.addoption("--eval-baseline", metavar="FILE", help="The results that gates compare with.")
    group.addoption("--eval-no-baseline", action="store_true", help="Skip gates that need a baseline.")


def pytest_configure(config: pytest.Config) -> None:
    """Name the folder that this run and its workers share, and see to its end."""
    if hasattr(config, "workerinput"):
        return
    token = config.stash[_TOKEN] = getattr(config.option, "testrunuid", None) or secrets.token_hex(16)
    if hasattr(config.option, "testrunuid"):
        config.option.testrunuid = token
    config.add_cleanup(lambda: shutil.rmtree(_place(token), ignore_errors=True))


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.name.endswith(ENDINGS):
        collected: pytest.Collector = SuiteFile.from_parent(parent, path=file_path)
        return collected
    return None


class SuiteFile(pytest.File):
    """A suite's file."""

    suite: Suite
    _runner: Runner | None = None

    def collect(self) -> Iterator[pytest.Item]:
        from ..state.errors import StepgraphError
        from .suite.check import check_suite
        from .suite.loading import load_suite, load_target
        from .suite.targets import target_of

        try:
            self.suite = load_suite(str(self.path))
            loaded = load_target(self.suite)
            check_suite(self.suite, target_of(loaded.graph, self.suite.node))
        except StepgraphError as error:
            raise self.CollectError(str(error)) from None
        for case in self.suite.cases:
            yield CaseItem.from_parent(self, name=case.id, case=case)
        if self.suite.gates:
            yield GateItem.from_parent(self, name="gates")

    def runner(self) -> Runner:
        """Return the run of the suite that all workers share."""
        if self._runner is None:
            from ..runners.bindings import parse_models
            from ..state.session.session import Session
            from .running.runner import Runner, begin
            from .suite.loading import load_target
            from .suite.targets import target_of

            folder, token = _folder(self.config)
            bound = parse_models(self.config.getoption("--eval-model") or ())
            database = self.config.getoption("--eval-db") or folder / "evals.sqlite"
            results_folder = self.config.getoption("--eval-results")
            run = f"{self.path.name.split('.')[0]}-{token}"
            session = Session(database)
            self.config.add_cleanup(session.close)
            target = target_of(load_target(self.suite).graph, self.suite.node)
            results = begin(self.suite, target, run, Path(results_folder or folder) / f"{run}.jsonl", bound)
            self._runner = Runner(self.suite, target, session, results)
        return self._runner

    def work(self, what: Any) -> Any:
        """Run a coroutine with the models that the command line binds."""
        import asyncio

        from ..providers.stack.roles import using
        from ..runners.bindings import parse_models

        bound = parse_models(self.config.getoption("--eval-model") or ())
        with using(**bound):
            return asyncio.run(what)


def _folder(config: pytest.Config) -> tuple[Path, str]:
    """Return a folder and a token that the workers of one pytest run share and nobody else has."""
    worker = getattr(config, "workerinput", None)
    token = str(worker["testrunuid"]) if worker else config.stash[_TOKEN]
    folder = _place(token)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder, token[:8]


def _place(token: str) -> Path:
    return Path(tempfile.gettempdir()) / f"stepgraph-eval-{token}"


class Missed(Exception):
    """A case or gate failed; shown without a traceback."""


class EvalItem(pytest.Item):
    parent: SuiteFile

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        from ..state.errors import StepgraphError

        if isinstance(excinfo.value, (Missed, StepgraphError)):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)


class CaseItem(EvalItem):
    """One case: all its repeats."""

    def __init__(self, *, case: Case, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._case = case

    def runtest(self) -> None:
        runner = self.parent.runner()
        trials: list[Trial] = self.parent.work(runner.run_case(self._case))
        if len(trials) < self.parent.suite.repeats:
            pytest.skip("the suite's budget ended")
        problem = _problem(trials)
        if problem and self.parent.suite.gates:
            pytest.xfail(f"{problem} (the gates decide)")
        if problem:
            raise Missed(problem)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        line = self._case.line
        return self.path, None if line is None else line - 1, f"case {self._case.id}"


def _problem(trials: list[Trial]) -> str:
    from .report.sections import problem_of

    bad = [trial for trial in trials if not trial.passed]
    return "\n".join(f"{trial.case}, repeat {trial.repeat}: {problem_of(trial)}" for trial in bad)


class GateItem(EvalItem):
    """All gates of a suite, over all its cases."""

    def runtest(self) -> None:
        from .files.results import read_results
        from .report.summary import summarise

        suite = self.parent.suite
        chosen = {item.name for item in self.session.items if item.parent is self.parent}
        if missing := [case.id for case in suite.cases if case.id not in chosen]:
            pytest.skip(f"{len(missing)} of the suite's cases were not selected")
        runner = self.parent.runner()
        runner.results.refresh()
        self.parent.work(runner.run_all())
        runner.results.refresh()
        baseline = self.config.getoption("--eval-baseline")
        report = summarise(
            runner.results,
            read_results(Path(baseline)) if baseline else None,
            skip_baseline=bool(self.config.getoption("--eval-no-baseline")),
        )
        gates = "\n".join(str(ruling) for ruling in report.gates)
        self.add_report_section("call", "gates", gates)
        if not report.complete:
            raise Missed(f"partial: {len(report.trials)} of {report.wanted} trials ran\n{gates}")
        if report.failed_gates:
            raise Missed(gates)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, "gates"
