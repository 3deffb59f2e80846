"""How far a judge and people say the same."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Agreement:
    """How often a judge and people said the same of `labels` examples, with a 95 % interval.

    `kappa` is Cohen's, which takes out what chance alone would bring; None where people gave one label
    only. Its interval is that of the agreement, with chance taken out as it was found. `unscored` examples
    count as disagreement.
    """

    judge: str
    labels: int
    agreed: int
    unscored: int
    interval: tuple[float, float]
    kappa: float | None
    wrongly_passed: int
    wrongly_failed: int
    trust: float
    kappa_interval: tuple[float, float] | None = None
    rightly_passed: int = 0

    @property
    def rightly_failed(self) -> int:
        return self.agreed - self.rightly_passed

    @property
    def trusted(self) -> bool:
        """Whether a gate may believe the judge."""
        return self.labels > 0 and self.interval[0] >= self.trust

    def __str__(self) -> str:
        low, high = self.interval
        share = self.agreed / self.labels if self.labels else 0.0
        kappa = "" if self.kappa is None else f", kappa {self.kappa:.2f}"
        if self.kappa_interval is not None:
            kappa += f" [{self.kappa_interval[0]:.2f}, {self.kappa_interval[1]:.2f}]"
        note = "" if self.trusted else f"; below {self.trust:.2f}, so no gate believes it"
        unread = f", {self.unscored} without a verdict" if self.unscored else ""
        return (
            f"{self.judge} agrees with people on {self.agreed} of {self.labels} examples: {share:.2f} "
            f"[{low:.2f}, {high:.2f}]{kappa}; {self.wrongly_passed} wrongly passed, "
            f"{self.wrongly_failed} wrongly failed{unread}{note}"
        )
