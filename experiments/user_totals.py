"""What an experiment counts of each user, and the sums over the users of a variant that all results come from.

Every quantity is a whole number (a precision in ten-thousandths, a rating in thousandths), so sums are exact whatever
their order: what the store adds up event by event equals what is computed anew from the log.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from experiments.statistics.sums import PairSums

PRECISION_SCALE = 10_000
RATING_SCALE = 1_000
QUANTITIES = (
    "lists", "clicked", "engaged", "precision", "events", "converted", "returned", "rated", "ratings", "before",
)  # fmt: skip
"""Of one user; see `UserTotals.quantities`."""
PRODUCTS = (
    ("clicked", "lists"),
    ("engaged", "lists"),
    ("precision", "lists"),
    ("ratings", "rated"),
    ("lists", "before"),
    ("clicked", "before"),
    ("engaged", "before"),
    ("precision", "before"),
    ("events", "before"),
    ("converted", "before"),
    ("returned", "before"),
    ("rated", "before"),
    ("ratings", "before"),
)
"""Pairs of which the sum of products is kept: numerators with denominators, and all with the covariate."""
STATISTICS = (
    "n", "simulated", "mixed", *QUANTITIES, *(f"{name}^2" for name in QUANTITIES), *(f"{x}*{y}" for x, y in PRODUCTS),
)  # fmt: skip
"""Names of a variant's sums."""
VariantSums = dict[str, int]


@dataclass
class UserTotals:
    """One user in one experiment. Times are those of the server, in ms.

    Attributes:
        variant: the variant that the user saw first.
        first_ms, last_ms: first and latest list.
        before: events recorded before the first list; the covariate of CUPED.
        simulated: whether the first list went to simulated traffic.
        mixed: whether the user saw another variant later; such a user counts for none.
        lists: lists shown, of which only the first of a user count (`experiments.attribution.Rule`); `clicked`,
            `engaged`: those of them with at least one such event.
        precision: average precision at 10 of the lists, summed, in ten-thousandths.
        events: recorded after the first list.
        conversions: attributed to a list.
        rated, ratings: attributed ratings, of which only the first count, and their sum in thousandths.
        sessions: runs of lists without a longer pause.
    """

    variant: str
    first_ms: int
    last_ms: int
    before: int
    simulated: bool
    mixed: bool = False
    lists: int = 0
    clicked: int = 0
    engaged: int = 0
    precision: int = 0
    events: int = 0
    conversions: int = 0
    rated: int = 0
    ratings: int = 0
    sessions: int = 0

    def quantities(self) -> dict[str, int]:
        """The user's values, by the names of `QUANTITIES`."""
        return {
            "lists": self.lists,
            "clicked": self.clicked,
            "engaged": self.engaged,
            "precision": self.precision,
            "events": self.events,
            "converted": int(self.conversions > 0),
            "returned": int(self.sessions > 1),
            "rated": self.rated,
            "ratings": self.ratings,
            "before": self.before,
        }


def variant_sums(users: Iterable[UserTotals]) -> dict[str, VariantSums]:
    """variant -> sums over its users, without the statistics that are 0."""
    found: dict[str, VariantSums] = {}
    for user in users:
        sums = found.setdefault(user.variant, {})
        for name, value in user_statistics(user).items():
            if value:
                sums[name] = sums.get(name, 0) + value
    return {variant: sums for variant, sums in found.items() if sums}


def user_statistics(user: UserTotals) -> VariantSums:
    """What one user adds to each sum of the variant."""
    if user.mixed:
        return {"mixed": 1}
    values = user.quantities()
    return {
        "n": 1,
        "simulated": int(user.simulated),
        **values,
        **{f"{name}^2": value * value for name, value in values.items()},
        **{f"{x}*{y}": values[x] * values[y] for x, y in PRODUCTS},
    }


def add_sums(parts: Iterable[Mapping[str, int]]) -> VariantSums:
    """Sums of all parts together, every statistic named."""
    total = dict.fromkeys(STATISTICS, 0)
    for part in parts:
        for name, value in part.items():
            total[name] += value
    return total


def pair_sums(sums: Mapping[str, int], x: str, y: str, x_scale: int = 1) -> PairSums:
    """The sums of two quantities of a variant, `x` divided by its scale; their product must be among `PRODUCTS`."""
    if (x, y) not in PRODUCTS:
        raise KeyError(f"no products are kept of {x} and {y}")
    return PairSums(
        n=sums.get("n", 0),
        total=sums.get(x, 0) / x_scale,
        squares=sums.get(f"{x}^2", 0) / x_scale**2,
        other_total=float(sums.get(y, 0)),
        other_squares=float(sums.get(f"{y}^2", 0)),
        products=sums.get(f"{x}*{y}", 0) / x_scale,
    )
