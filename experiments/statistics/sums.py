"""Sufficient sums: all that a comparison needs of an arm, whatever the number of events behind it.

One value a user: `Sums` holds n, sum x and sum x^2; `PairSums` also the sums of a second value of the same users (a
covariate, or a ratio's denominator) and of the products. Sums of integers are exact in float64 up to 2^53, so merging
counts over partitions, in any order, gives the very numbers of a recomputation from the rows.

The unbiased sample variance is (sum x^2 - (sum x)^2 / n) / (n - 1), the covariance likewise. Both lose digits where
the mean is large against the spread: a spread below `ROUNDING` of sum x^2 cannot be told from none.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

# Relative size below which a difference of sums is rounding: a million additions lose about 2e-13.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Sums:
    """Sums over the users of one arm.

    Attributes:
        n: number of users.
        total: sum of their values.
        squares: sum of the squares.

    Raises:
        ValueError: a count that is no whole number from 0, a sum that is not finite; the field is named.
    """

    n: int
    total: float
    squares: float

    def __post_init__(self) -> None:
        _check(self)

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(self.n + other.n, self.total + other.total, self.squares + other.squares)

    @classmethod
    def of(cls, values: np.ndarray, name: str = "values") -> "Sums":
        """Sums of (n,) values; ValueError, naming `name`, where one is not finite."""
        checked = finite_vector(values, name)
        return cls(len(checked), float(checked.sum()), float(checked @ checked))

    @property
    def mean(self) -> float | None:
        """None without users."""
        return self.total / self.n if self.n else None

    @property
    def variance(self) -> float | None:
        """Unbiased; None with fewer than two users, 0 where the spread is within the rounding of the sums."""
        if self.n < 2:
            return None
        spread = self.squares - self.total * self.total / self.n
        return 0.0 if abs(spread) <= ROUNDING * self.squares else spread / (self.n - 1)


@dataclass(frozen=True)
class PairSums:
    """Sums over the users of one arm of two values, `x` (the metric) and `y` (covariate or denominator).

    Attributes:
        n: number of users.
        total, squares: sum x, sum x^2.
        other_total, other_squares: sum y, sum y^2.
        products: sum x y.

    Raises:
        ValueError: as `Sums`.
    """

    n: int
    total: float
    squares: float
    other_total: float
    other_squares: float
    products: float

    def __post_init__(self) -> None:
        _check(self)

    def __add__(self, other: "PairSums") -> "PairSums":
        return PairSums(
            self.n + other.n,
            self.total + other.total,
            self.squares + other.squares,
            self.other_total + other.other_total,
            self.other_squares + other.other_squares,
            self.products + other.products,
        )

    @classmethod
    def of(cls, values: np.ndarray, others: np.ndarray, name: str = "values", other_name: str = "others") -> "PairSums":
        """Sums of two (n,) arrays over the same users; ValueError names the one that is not finite or too short."""
        x, y = finite_vector(values, name), finite_vector(others, other_name)
        if len(x) != len(y):
            raise ValueError(f"{name} has {len(x)} users, {other_name} has {len(y)}")
        return cls(len(x), float(x.sum()), float(x @ x), float(y.sum()), float(y @ y), float(x @ y))

    @property
    def main(self) -> Sums:
        """The metric alone."""
        return Sums(self.n, self.total, self.squares)

    @property
    def other(self) -> Sums:
        """The covariate or denominator alone."""
        return Sums(self.n, self.other_total, self.other_squares)

    @property
    def covariance(self) -> float | None:
        """Unbiased; None with fewer than two users."""
        return (self.products - self.total * self.other_total / self.n) / (self.n - 1) if self.n > 1 else None


@dataclass(frozen=True)
class RatioSums:
    """Sums over the users of one arm of a ratio's two values and a covariate.

    Attributes:
        ratio: numerator with denominator.
        numerator, denominator: each with the covariate.

    Raises:
        ValueError: they are not of as many users.
    """

    ratio: PairSums
    numerator: PairSums
    denominator: PairSums

    def __post_init__(self) -> None:
        if not self.ratio.n == self.numerator.n == self.denominator.n:
            raise ValueError(f"n differs: {self.ratio.n}, {self.numerator.n} and {self.denominator.n} users")

    def __add__(self, other: "RatioSums") -> "RatioSums":
        return RatioSums(
            self.ratio + other.ratio, self.numerator + other.numerator, self.denominator + other.denominator
        )

    @classmethod
    def of(cls, numerators: np.ndarray, denominators: np.ndarray, covariates: np.ndarray) -> "RatioSums":
        """Sums of three (n,) arrays over the same users; ValueError as `PairSums.of`."""
        return cls(
            PairSums.of(numerators, denominators, "numerators", "denominators"),
            PairSums.of(numerators, covariates, "numerators", "covariates"),
            PairSums.of(denominators, covariates, "denominators", "covariates"),
        )

    @property
    def n(self) -> int:
        """Number of users."""
        return self.ratio.n


def merge(parts: Iterable[Sums]) -> Sums:
    """The sums of all parts together; of none, the sums of no users."""
    return sum(parts, start=Sums(0, 0.0, 0.0))


def pack_sums(sums: PairSums) -> list[float]:
    """The six numbers of the sums, in the order of the fields, for JSON."""
    return [sums.n, sums.total, sums.squares, sums.other_total, sums.other_squares, sums.products]


def unpack_sums(values: Sequence[float]) -> PairSums:
    """The sums from what `pack_sums` gave."""
    return PairSums(int(values[0]), *values[1:])


def finite_vector(values: np.ndarray, name: str) -> np.ndarray:
    """(n,) float64; ValueError, naming `name` and the first bad place, unless one-dimensional and finite."""
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, not of shape {vector.shape}")
    bad = np.flatnonzero(~np.isfinite(vector))
    if len(bad):
        raise ValueError(f"{name}[{bad[0]}] is {vector[bad[0]]}: {len(bad)} of {len(vector)} values are not finite")
    return vector


def _check(sums: Sums | PairSums) -> None:
    if isinstance(sums.n, bool) or not isinstance(sums.n, int | np.integer) or sums.n < 0:
        raise ValueError(f"n must be a whole number from 0, not {sums.n!r}")
    for field in fields(sums):
        value = getattr(sums, field.name)
        if not math.isfinite(value):
            raise ValueError(f"{field.name} must be finite, not {value!r}")
        if field.name.endswith("squares") and value < 0:
            raise ValueError(f"{field.name} must not be negative: {value!r}")
        if sums.n == 0 and value != 0:
            raise ValueError(f"{field.name} is {value!r}, but there are no users")
