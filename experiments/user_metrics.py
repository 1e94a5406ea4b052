"""The metrics of an experiment, each a mean over users or a ratio of sums over users, from a variant's sums.

A list counts as clicked when anything on it was taken up (any event but a refusal or a search), as engaged when an item
of it got an event of confidence .5 or more (a like, a good rating, a purchase, long watching).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.statistics.cuped import Adjustment, cuped_difference, cuped_ratio_difference
from experiments.statistics.difference import Difference, mean_difference
from experiments.statistics.ratio import ratio_difference
from experiments.statistics.sums import PairSums, RatioSums
from experiments.user_totals import PRECISION_SCALE, RATING_SCALE, pair_sums

COVARIATE = "before"


@dataclass(frozen=True)
class Metric:
    """A metric of an experiment.

    Attributes:
        numerator: the quantity (`experiments.user_totals`).
        denominator: the quantity below the line of a ratio; None for a mean over users.
        scale: the numerator's unit.
        meaning: what it says, in words.
    """

    numerator: str
    denominator: str | None
    meaning: str
    scale: int = 1
    higher_is_better: bool = True

    @property
    def kind(self) -> str:
        """Whether it is a mean or a ratio."""
        return "mean" if self.denominator is None else "ratio"

    def sums(self, variant: Mapping[str, int]) -> PairSums:
        """Numerator with denominator, or metric with covariate."""
        return pair_sums(variant, self.numerator, self.denominator or COVARIATE, self.scale)

    def difference(self, control: Mapping[str, int], treatment: Mapping[str, int], relative: bool) -> Difference:
        """Treatment minus control."""
        a, b = self.sums(control), self.sums(treatment)
        if self.denominator is None:
            return mean_difference(a.main, b.main, relative)
        return ratio_difference(a, b, relative)

    def adjusted(self, control: Mapping[str, int], treatment: Mapping[str, int], relative: bool) -> Adjustment:
        """The difference with CUPED."""
        if self.denominator is None:
            return cuped_difference(self.sums(control), self.sums(treatment), relative)
        a, b = (
            RatioSums(
                self.sums(variant),
                pair_sums(variant, self.numerator, COVARIATE, self.scale),
                pair_sums(variant, self.denominator, COVARIATE),
            )
            for variant in (control, treatment)
        )
        return cuped_ratio_difference(a, b, relative)


METRICS: dict[str, Metric] = {
    "click_through": Metric("clicked", "lists", "share of lists of which something was taken up"),
    "engagement": Metric("engaged", "lists", "share of lists of which an item was liked, rated well or bought"),
    "conversion": Metric("converted", None, "share of users with a conversion attributed to a list"),
    "mean_rating": Metric("ratings", "rated", "mean of the attributed ratings", RATING_SCALE),
    "events_per_user": Metric("events", None, "events of a user after the first list"),
    "session_return": Metric("returned", None, "share of users who came back for another session"),
    "map_at_10": Metric(
        "precision", "lists",
        "mean average precision at 10 of the lists; relevant is what of a list was engaged with", PRECISION_SCALE,
    ),
}  # fmt: skip
