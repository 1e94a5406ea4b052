"""What an experiment fixes before anybody looks at results."""

from dataclasses import dataclass

from experiments.statistics.sequential import DEFAULT_TUNING_N


@dataclass(frozen=True)
class Design:
    """What was fixed before the first look.

    Attributes:
        variants: names, the control first.
        periods: (users that were there already, weights), oldest first; more than one for a bandit.
        metrics: the metrics to be shown.
        guardrails: (metric, margin).
        always_valid: whether the decision may be taken at any time.
        planned_effect: absolute; None where nothing was planned.
        planned_users: users that each variant is planned to have.
        sample_users: users of each variant at which it is read, fixed once; None while nothing has fixed it.
    """

    variants: tuple[str, ...]
    periods: tuple[tuple[int, tuple[float, ...]], ...]
    primary: str
    metrics: tuple[str, ...]
    guardrails: tuple[tuple[str, float], ...] = ()
    always_valid: bool = True
    alpha: float = 0.05
    planned_effect: float | None = None
    planned_users: int | None = None
    sample_users: int | None = None
    power: float = 0.8
    minimum_days: float = 7.0
    minimum_users: int = 100
    maximum_days: float | None = 28.0
    bandit: bool = False

    @property
    def read_at(self) -> int | None:
        """Users of each variant at which it is read: never one that the present results make up."""
        return self.planned_users if self.sample_users is None else self.sample_users

    @property
    def live(self) -> tuple[str, ...]:
        """The variants that have or had a weight, the control first. One that never had any takes no part."""
        weighted = (max(weights[place] for _, weights in self.periods) for place in range(len(self.variants)))
        return tuple(name for name, weight in zip(self.variants, weighted, strict=True) if weight > 0)

    @property
    def treatments(self) -> tuple[str, ...]:
        """The live variants but the control; none where the control takes no part, since nothing can be compared."""
        return self.live[1:] if self.live[:1] == self.variants[:1] else ()

    @property
    def tuning_n(self) -> float:
        """Users near which the always-valid interval shall be tightest: the planned ones of treatment and control."""
        return DEFAULT_TUNING_N if self.planned_users is None else 2.0 * self.planned_users


def expected_weights(design: Design, users: int) -> list[float]:
    """The weights under which the users came, on average."""
    if users == 0:
        return list(design.periods[-1][1])
    ends = [min(begin, users) for begin, _ in design.periods[1:]] + [users]
    totals = [0.0] * len(design.variants)
    for (begin, weights), end in zip(design.periods, ends, strict=True):
        for place, weight in enumerate(weights):
            totals[place] += weight * max(0, end - min(begin, users))
    return [total / users for total in totals]
