"""What to do with an experiment now: ship, keep running, stop, or see to its health, with the reason in words.

The rule, in this order; the first that applies decides:

1. unhealthy: the sample ratio is off (the always-valid p below `sample_ratio_alpha`). No result of such an experiment
   means anything.
2. keep running: an arm has fewer than `minimum_users`.
3. stop: each treatment does harm, that is its metric is significantly worse or one of its guardrails is broken. Harm
   does not wait for the minimum duration; a win does.
4. keep running: fewer than `minimum_days`, since users of one weekday are not the users of a week; or a fixed-sample
   result whose time has not come.
5. ship: the best treatment that is significantly better and whose guardrails are all safe.
6. stop: `maximum_days` or `planned_users` reached and nothing to ship.
7. keep running.

Significant means p below alpha after Holm's correction over the treatments; guardrails are not corrected, which errs
towards an alarm. An always-valid comparison is read at any time. A fixed-sample one (Welch), guardrails too, is read
once: when `planned_users` are there and `minimum_days` are over, or at `maximum_days` (`DecisionRule.due`). Until then
harm is looked for in the always-valid comparison of the same numbers (`safety`): one fixed-sample test after another
finds harm in one of five experiments that have none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from experiments.statistics.difference import Comparison, check_alpha
from experiments.statistics.multiple_comparisons import holm
from experiments.statistics.sample_ratio import SampleRatio

Action = Literal["ship", "keep_running", "stop", "unhealthy"]
GuardrailState = Literal["safe", "broken", "unproven", "undefined"]


@dataclass(frozen=True)
class DecisionRule:
    """When an experiment is decided, and how sure that has to be.

    Attributes:
        alpha: chance of a false positive on the primary metric, over all treatments together.
        minimum_days: how long an experiment runs before a winner is named.
        minimum_users: how many users each arm needs before anything is read.
        maximum_days: when the experiment ends without a winner; None for never.
        planned_users: users of each arm at which it is read, fixed beforehand; None where nothing was planned.
        sample_ratio_alpha: chance of a false "unhealthy", over all looks together; a mismatch is no close call.
        higher_is_better: whether a larger value of the primary metric is better.

    Raises:
        ValueError: an alpha outside (0, 1), a negative or reversed limit.
    """

    alpha: float = 0.05
    minimum_days: float = 7.0
    minimum_users: int = 100
    maximum_days: float | None = 28.0
    planned_users: int | None = None
    sample_ratio_alpha: float = 0.001
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        check_alpha(self.sample_ratio_alpha, "sample_ratio_alpha")
        if self.minimum_days < 0 or self.minimum_users < 0:
            raise ValueError("minimum_days and minimum_users must not be negative")
        if self.maximum_days is not None and self.maximum_days < self.minimum_days:
            raise ValueError(f"maximum_days ({self.maximum_days}) is below minimum_days ({self.minimum_days})")

    def ended(self, days: float) -> bool:
        """Whether the longest duration is over."""
        return self.maximum_days is not None and days >= self.maximum_days

    def due(self, days: float, fewest: int) -> bool:
        """Whether a fixed-sample comparison is read now, when the smallest arm has `fewest` users."""
        planned = self.planned_users is not None and fewest >= max(self.planned_users, self.minimum_users)
        return self.ended(days) or (planned and days >= self.minimum_days)


@dataclass(frozen=True)
class Guardrail:
    """A metric that must not get worse.

    Attributes:
        comparison: treatment against control.
        margin: how much worse is still tolerated, in the comparison's unit. With 0 the guardrail breaks when it is
            significantly worse; above 0 it must also be shown to be within the margin before anything ships.
        safety: the always-valid comparison, for looks before a fixed-sample one is due.
    """

    metric: str
    comparison: Comparison
    higher_is_better: bool = True
    margin: float = 0.0
    safety: Comparison | None = None

    @property
    def state(self) -> GuardrailState:
        """By the interval: broken if all of it is beyond the margin, safe if none of it is (or the margin is 0)."""
        if self.comparison.interval is None:
            return "undefined"
        low, high = self.comparison.interval
        worst, best = (low, high) if self.higher_is_better else (-high, -low)
        if best < -self.margin:
            return "broken"
        return "safe" if self.margin == 0 or worst > -self.margin else "unproven"


@dataclass(frozen=True)
class Treatment:
    """What is known of one treatment against the control.

    Attributes:
        users: how many users are in the treatment.
        primary: the comparison that decides; the absolute difference is defined earlier than the relative one and
            safer for rare events. Its interval has the confidence of Holm's step (`holm_levels`).
        guardrails: metrics that must not get worse.
        safety: the always-valid comparison, for looks before a fixed-sample one is due.
    """

    name: str
    users: int
    primary: Comparison
    guardrails: tuple[Guardrail, ...] = ()
    safety: Comparison | None = None

    def watched(self) -> "Treatment":
        """The treatment by what may be looked at any time."""
        unknown = Comparison("always_valid", self.primary.alpha, self.primary.relative, reason="it is read at its end")
        guardrails = ((one, _always_valid(one.comparison, one.safety)) for one in self.guardrails)
        return replace(
            self,
            primary=_always_valid(self.primary, self.safety) or unknown,
            guardrails=tuple(replace(one, comparison=found) for one, found in guardrails if found is not None),
        )


@dataclass(frozen=True)
class Decision:
    """The decision on an experiment.

    Attributes:
        action: what to do now.
        winner: the treatment to ship, None otherwise.
        reason: why, in words, with the numbers.
        adjusted_p_values: Holm's p-values of the treatments in order; None where undefined.
        warnings: what else the reader should know.
    """

    action: Action
    winner: str | None
    reason: str
    adjusted_p_values: tuple[float | None, ...]
    warnings: tuple[str, ...] = ()


def decide(
    rule: DecisionRule,
    days: float,
    control_users: int,
    treatments: Sequence[Treatment],
    sample_ratio: SampleRatio,
    warnings: Sequence[str] = (),
) -> Decision:
    """Apply the rule above to an experiment that has run for `days`.

    Args:
        warnings: what to pass on, for instance a bandit's warning.

    Raises:
        ValueError: no treatment.
    """
    if not treatments:
        raise ValueError("treatments: there must be at least one")
    fewest = min([control_users, *(treatment.users for treatment in treatments)])
    ended = rule.ended(days)
    compared = [c for t in treatments for c in (t.primary, *(guardrail.comparison for guardrail in t.guardrails))]
    once = any(comparison.method != "always_valid" for comparison in compared)
    complete = rule.due(days, fewest)
    adjusted = tuple(holm([treatment.primary.p_value for treatment in treatments]))
    notes = (*warnings, *_notes(treatments, sample_ratio))

    def decision(action: Action, reason: str, winner: str | None = None) -> Decision:
        return Decision(action, winner, reason, adjusted, notes)

    p_ratio = sample_ratio.always_valid_p_value
    if p_ratio is not None and p_ratio < rule.sample_ratio_alpha:
        return decision("unhealthy", _mismatch(sample_ratio, rule))
    if fewest < rule.minimum_users and not ended:
        return decision("keep_running", f"the smallest arm has {fewest} of at least {rule.minimum_users} users")
    if fewest < rule.minimum_users:
        return decision(
            "stop",
            f"{days:.3g} days are over and the smallest arm has {fewest} of at least {rule.minimum_users} users: "
            "nothing can be concluded",
        )
    if once and not complete:
        return decision(*_before_its_time(rule, days, fewest, treatments))
    harms = [_harm(rule, treatment, p) for treatment, p in zip(treatments, adjusted, strict=True)]
    if all(harm is not None for harm in harms):
        return decision("stop", "; ".join(harm for harm in harms if harm is not None))
    if days < rule.minimum_days:
        return decision("keep_running", f"{days:.3g} of at least {rule.minimum_days:.3g} days")
    better = [
        treatment
        for treatment, p, harm in zip(treatments, adjusted, harms, strict=True)
        if harm is None and p is not None and p < rule.alpha and _gain(rule, treatment) > 0
    ]
    ready = [t for t in better if all(guardrail.state == "safe" for guardrail in t.guardrails)]
    if ready:
        best = max(ready, key=lambda treatment: _gain(rule, treatment))
        p = adjusted[[treatment.name for treatment in treatments].index(best.name)]
        return decision("ship", f"{best.name} is better: {_numbers(best.primary, p)}", best.name)
    waiting = [text for treatment in better for text in _waiting(treatment)]
    summary = "; ".join(
        harm or f"{treatment.name}: {_numbers(treatment.primary, p)}"
        for treatment, p, harm in zip(treatments, adjusted, harms, strict=True)
    )
    if waiting:
        summary = f"{'; '.join(waiting)}; {summary}"
    if complete:
        until = f"{days:.3g} days are over" if ended else f"the planned {rule.planned_users} users are there"
        return decision("stop", f"{until} and nothing can be shipped: {summary}")
    return decision("keep_running", f"no decision yet: {summary}")


def _before_its_time(
    rule: DecisionRule, days: float, fewest: int, treatments: Sequence[Treatment]
) -> tuple[Action, str]:
    """What to do while a fixed-sample comparison may not be read: only harm is looked for."""
    watched = [treatment.watched() for treatment in treatments]
    p_values = holm([treatment.primary.p_value for treatment in watched])
    harms = [_harm(rule, treatment, p) for treatment, p in zip(watched, p_values, strict=True)]
    if all(harm is not None for harm in harms):
        found = "; ".join(harm for harm in harms if harm is not None)
        return "stop", f"{found} (always-valid, since the planned end has not come)"
    planned = "none are planned" if rule.planned_users is None else f"{rule.planned_users} are planned"
    missing = f"the smallest arm has {fewest} users, {planned}"
    if rule.planned_users is not None and fewest >= rule.planned_users:
        missing = f"{days:.3g} of at least {rule.minimum_days:.3g} days"
    return "keep_running", f"a fixed-sample test is read once, at its end: {missing}"


def _always_valid(comparison: Comparison, safety: Comparison | None) -> Comparison | None:
    return comparison if comparison.method == "always_valid" else safety


def _gain(rule: DecisionRule, treatment: Treatment) -> float:
    estimate = treatment.primary.estimate or 0.0
    return estimate if rule.higher_is_better else -estimate


def _harm(rule: DecisionRule, treatment: Treatment, p: float | None) -> str | None:
    """Why the treatment must not go on, or None."""
    if p is not None and p < rule.alpha and _gain(rule, treatment) < 0:
        return f"{treatment.name} is worse: {_numbers(treatment.primary, p)}"
    for guardrail in treatment.guardrails:
        if guardrail.state == "broken":
            found = guardrail.comparison
            return f"{treatment.name} breaks the guardrail {guardrail.metric}: {_numbers(found, found.p_value)}"
    return None


def _waiting(treatment: Treatment) -> list[str]:
    """What keeps a better treatment from being shipped."""
    return [
        f"{treatment.name} is better, but the guardrail {guardrail.metric} is {guardrail.state} "
        f"({_numbers(guardrail.comparison, guardrail.comparison.p_value)}, margin "
        f"{_size(guardrail.margin, guardrail.comparison.relative)})"
        for guardrail in treatment.guardrails
        if guardrail.state != "safe"
    ]


def _notes(treatments: Sequence[Treatment], sample_ratio: SampleRatio) -> list[str]:
    found = [f"{t.name}: no result, {t.primary.reason}" for t in treatments if t.primary.reason is not None]
    found += [
        f"{t.name}: guardrail {guardrail.metric} has no result, {guardrail.comparison.reason}"
        for t in treatments
        for guardrail in t.guardrails
        if guardrail.comparison.reason is not None
    ]
    if sample_ratio.always_valid_p_value is None:
        found.append(f"sample ratio not tested: {sample_ratio.reason}")
    return found


def _mismatch(sample_ratio: SampleRatio, rule: DecisionRule) -> str:
    pairs = ", ".join(
        f"{count} users where {wanted:.0f} are expected"
        for count, wanted in zip(sample_ratio.observed, sample_ratio.expected, strict=True)
        if wanted is not None
    )
    return (
        f"the sample ratio is off (p {_p(sample_ratio.always_valid_p_value)}, below {rule.sample_ratio_alpha:g}): "
        f"{pairs}. Users are lost or counted unevenly; find out why before reading any result"
    )


def _numbers(comparison: Comparison, p: float | None) -> str:
    if comparison.estimate is None or comparison.interval is None:
        return f"undefined ({comparison.reason})"
    low, high = (_size(end, comparison.relative, signed=True) for end in comparison.interval)
    kind = "relative" if comparison.relative else "absolute"
    return (
        f"{_size(comparison.estimate, comparison.relative, signed=True)} {kind}, "
        f"{100 * (1 - comparison.alpha):.4g}% interval {low} to {high}, p {_p(p)}"
    )


def _size(value: float, relative: bool, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{value:{sign}.1%}" if relative else f"{value:{sign}.4g}"


def _p(p: float | None) -> str:
    if p is None:
        return "undefined"
    return "< 0.0001" if p < 1e-4 else f"= {p:.4f}"
