"""A run of a suite as an experiment in Langfuse: items, the trials' traces linked to them, and scores.

Everything has an id that follows from what it stands for, so sending a run again changes nothing, and
what a resume added joins the same experiment. The spans carry the attributes that Langfuse's own SDK
writes in `run_experiment`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...state.errors import InputError, SettingsError
from ...state.session.session import Session
from ...tracing.export.otlp import Delivery, Destination, Sender
from ...tracing.export.outbox import ExportBatch, deliver, grouped
from ...tracing.export.roots import delivery_id, with_whole_roots
from ...tracing.record.read_spans import read_spans
from ...tracing.record.reads import already_sent
from ...tracing.record.threads import is_known
from ..files.results import Results
from ..report.summary import summarise
from ..suite.model import Suite
from .items import comparable, experiment_id, item_of, stable_id
from .link import ENVIRONMENT, ITEMS, Experiment, parcel_of

if TYPE_CHECKING:
    from langfuse.api import LangfuseAPI

PAGE = 100


@dataclass(frozen=True)
class ExperimentReceipt:
    """What Langfuse has of a run, and what went wrong; `url` is where it is to be seen."""

    dataset: str
    items: int = 0
    traces: int = 0
    scores: int = 0
    problem: str | None = None
    url: str | None = None


def project_of(destinations: Sequence[Destination]) -> Destination:
    """Return the Langfuse project among destinations, ready to use. Raises SettingsError without one."""
    for destination in destinations:
        if destination.client is not None:
            _ = destination.client.api  # without the SDK, say so before anything is paid
            return destination
    raise SettingsError(
        "No Langfuse project is set. Set LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and LANGFUSE_BASE_URL."
    )


def push_run(suite: Suite, results: Results, session: Session, project: Destination) -> ExperimentReceipt:
    """Send a run of a suite: its cases as items of a dataset, its trials as an experiment on it.

    What Langfuse does or does not do never raises: `problem` says it. Raises InputError if the results
    are of another version of the suite, or if the session's file does not hold their threads.
    """
    header, trials = results.header, results.trials.values()
    if header.fingerprint != suite.fingerprint:
        raise InputError(
            f"The run {header.run!r} is of another version of the suite {suite.name!r}. Run it again, or "
            "take the suite as it was."
        )
    journal = session.journal
    if trials and not any(is_known(journal, trial.thread) for trial in trials):
        raise InputError(
            f"{journal.database} does not hold the threads of the run {header.run!r}. Name the file that "
            "it ran with: --db FILE"
        )
    pusher = _Pusher(suite, results, session, project)
    try:
        pusher.push()
    except _Unreachable as error:
        return replace(pusher.pushed, problem=str(error))
    return pusher.pushed


def _is_there(parcel: ExportBatch, arrived: set[str]) -> bool:
    return bool(parcel.spans) and {span.id for span in parcel.spans} <= arrived


class _Unreachable(Exception):
    """Langfuse takes nothing now, so that the rest waits."""


class _Pusher:
    def __init__(self, suite: Suite, results: Results, session: Session, project: Destination) -> None:
        self.pushed = ExperimentReceipt(suite.name)
        self._suite = suite
        self._results = results
        self._session = session
        self._project = project
        self._items = {case.id: item_of(suite.name, case, project.mask) for case in suite.cases}

    def push(self) -> None:
        experiment = self._experiment()
        self._send_items()
        sender = Sender(replace(self._project, dialect=ITEMS))
        # The note of what arrived is the experiment's own: its spans say what those of a mere run do not.
        sender.name = f"{self._project.name} experiment {experiment.id}"
        also = (self._project.name,)
        try:
            for group in grouped(self._parcels(experiment, sender.name)):
                delivery = deliver(self._session.journal.write, sender, group, also)
                self._count(group, delivery)
                if delivery.blocked:
                    raise _Unreachable(delivery.problem)
        finally:
            sender.close()
        self._send_means(experiment)

    def _experiment(self) -> Experiment:
        """Make the dataset, unless it is there, and return the experiment on it."""
        suite, header = self._suite, self._results.header
        with self._api() as api:
            dataset = api.datasets.create(
                name=suite.name,
                metadata={"graph": suite.graph, "node": suite.node},
                request_options={"max_retries": 0},
            )
        experiment = experiment_id(dataset.project_id, dataset.id, header.run)
        base_url = "" if self._project.client is None else self._project.client.base_url
        place = f"{base_url}/project/{dataset.project_id}/experiments/results?baseline={experiment}"
        self.pushed = replace(self.pushed, url=place)
        return Experiment(experiment, dataset.id, header, suite.evaluators)

    def _send_items(self) -> None:
        known = dict(self._known_items())
        for item in self._items.values():
            if known.get(item["id"]) != comparable(item):
                with self._api() as api:
                    api.dataset_items.create(**item)
            self.pushed = replace(self.pushed, items=self.pushed.items + 1)

    def _known_items(self) -> Iterator[tuple[str, str]]:
        page, pages = 1, 1
        while page <= pages:
            with self._api() as api:
                answer = api.dataset_items.list(dataset_name=self._suite.name, page=page, limit=PAGE)
            yield from ((item.id, comparable(vars(item))) for item in answer.data)
            page, pages = page + 1, answer.meta.total_pages

    def _parcels(self, experiment: Experiment, noted_as: str) -> Iterator[ExportBatch]:
        """Yield what has not arrived of each trial; a trial of which all has is counted."""
        query = self._session.journal.query
        for trial in self._results.trials.values():
            if trial.case not in self._items:
                continue
            if spans := with_whole_roots(read_spans(query, trial.thread)):
                whole = parcel_of(experiment, trial, self._items[trial.case], spans)
                sent = already_sent(query, noted_as, trial.thread)
                left = replace(
                    whole,
                    spans=[span for span in whole.spans if delivery_id(span) not in sent],
                    scores=[scored for scored in whole.scores if scored[1]["id"] not in sent],
                )
                self._count_earlier(whole, left)
                yield left

    def _count_earlier(self, whole: ExportBatch, left: ExportBatch) -> None:
        before = self.pushed
        self.pushed = replace(
            before,
            traces=before.traces + (not left.spans),
            scores=before.scores + len(whole.scores) - len(left.scores),
        )

    def _count(self, group: Sequence[ExportBatch], delivery: Delivery) -> None:
        arrived = set(delivery.arrived)
        before = self.pushed
        self.pushed = replace(
            before,
            traces=before.traces + sum(_is_there(parcel, arrived) for parcel in group),
            scores=before.scores
            + sum(score["id"] in arrived for parcel in group for _, score in parcel.scores),
            problem=delivery.problem or before.problem,
        )

    def _send_means(self, experiment: Experiment) -> None:
        """Send the mean of each metric over all cases, as a score of the experiment itself."""
        body: Any = [
            {
                "id": stable_id(16, experiment.id, metric.name),
                "datasetRunId": experiment.id,
                "name": metric.name,
                "value": metric.mean,
                "dataType": "NUMERIC",
                "environment": ENVIRONMENT,
            }
            for metric in summarise(self._results, skip_baseline=True).metrics
            if metric.mean is not None
        ]
        if self._project.client is not None:
            outcome = self._project.client.send_bodies(body)
            if outcome.refused or outcome.stopped:
                why = outcome.refused[0][1] if outcome.refused else outcome.status or outcome.error
                raise _Unreachable(f"{self._project.name} refused the means of the metrics: {why}")

    @contextmanager
    def _api(self) -> Iterator[LangfuseAPI]:
        """Give Langfuse's API; whatever goes wrong with it raises _Unreachable."""
        import httpx
        from langfuse.api.core import ApiError
        from pydantic import ValidationError

        to = self._project
        if to.client is None:
            raise SettingsError(f"{to.name} is no Langfuse project.")
        try:
            yield to.client.api
        except ApiError as error:
            raise _Unreachable(f"{to.name} answered {error.status_code}") from None
        except httpx.HTTPError as error:
            raise _Unreachable(f"{to.name} cannot be reached: {type(error).__name__}") from None
        except ValidationError:
            raise _Unreachable(f"{to.name} gave an answer that its SDK does not know") from None
