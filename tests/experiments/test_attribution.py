from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.attribution import CLICK, CONVERT, ENGAGE, RATE, Rule, UserReplay, average_precision
from experiments.user_totals import PRODUCTS, QUANTITIES, STATISTICS, UserTotals, add_sums, pair_sums, variant_sums

RULE = Rule(window_ms=1_000, session_gap_ms=500, clock_skew_ms=50, lists_kept=3, counted_lists=5)
ITEMS = [f"i{n}" for n in range(1, 13)]


def shown(user: UserReplay, number: int, at_ms: int, items: list[str] = ITEMS, **fields: Any) -> None:
    given = {"experiment": "e", "variant": "a", "before": 4, "simulated": False, **fields}
    user.expose(given.pop("experiment"), given.pop("variant"), f"r{number}", at_ms, items, **given)


def acted(user: UserReplay, at_ms: int, item: str, goals: int, named: str | None = None, **fields: Any) -> None:
    user.event(at_ms, item, fields.get("said_ms", at_ms), named, goals, fields.get("rating"))


def test_an_event_belongs_to_the_list_it_names_else_to_the_latest_with_its_item() -> None:
    user = UserReplay(RULE)
    shown(user, 1, 100, ["i1", "i2"])
    shown(user, 2, 200, ["i2", "i3"])
    acted(user, 300, "i2", CLICK)
    assert [one.clicked for one in user.lists] == [True, False]
    acted(user, 300, "i2", CLICK, named="r1")
    assert [one.clicked for one in user.lists] == [True, True]
    assert user.totals["e"].clicked == 2
    acted(user, 310, "i3", CLICK, named="r1")  # not on the list that it names
    acted(user, 320, "i9", CLICK)  # on no list
    assert (user.totals["e"].clicked, user.totals["e"].events) == (2, 4)


def test_window_pause_and_memory_are_limits() -> None:
    user = UserReplay(RULE)
    shown(user, 1, 100, ["i1"])
    acted(user, 1_100, "i1", CLICK)
    assert user.totals["e"].clicked == 1
    shown(user, 2, 1_200, ["i2"])
    acted(user, 2_201, "i2", CLICK)  # one ms too late
    assert (user.totals["e"].clicked, user.totals["e"].events) == (1, 2)
    assert user.totals["e"].sessions == 2
    shown(user, 3, 1_700, ["i3"])  # a pause of exactly the gap is none
    assert user.totals["e"].sessions == 2
    shown(user, 4, 1_710, ["i4"])
    acted(user, 1_720, "i1", CLICK, named="r1")  # four lists ago
    assert user.totals["e"].clicked == 1


def test_clocks_of_clients_do_not_matter_but_late_deliveries_do() -> None:
    user = UserReplay(RULE)
    acted(user, 50, "i1", CLICK)  # before any list
    shown(user, 1, 100)
    acted(user, 200, "i1", CLICK, said_ms=49)  # says that it happened before the first list
    assert user.totals["e"].events == 0
    acted(user, 200, "i1", CLICK, said_ms=50)  # within the tolerance
    acted(user, 200, "i1", CLICK, said_ms=0, named="r1")  # names its list
    acted(user, 200, "i1", CLICK, said_ms=10**15)
    assert (user.totals["e"].events, user.totals["e"].clicked) == (3, 1)


def test_what_an_event_means() -> None:
    user = UserReplay(RULE)
    shown(user, 1, 100)
    acted(user, 200, "i1", RATE, rating=1.5)  # a refusal: rated, neither clicked nor engaged
    acted(user, 210, "i3", CLICK | ENGAGE | RATE, rating=4.0)
    acted(user, 220, "i12", CLICK | ENGAGE | CONVERT)  # beyond the tenth place: no precision
    totals = user.totals["e"]
    assert (totals.rated, totals.ratings, totals.clicked, totals.engaged, totals.conversions) == (2, 5_500, 1, 1, 1)
    assert totals.precision == 333
    acted(user, 230, "i1", CLICK | ENGAGE)
    assert totals.precision == round((1 / 1 + 2 / 3) / 10 * 10_000)
    acted(user, 240, "i1", CLICK | ENGAGE)  # the same item again
    assert totals.precision == 1_667


@pytest.mark.parametrize(
    ("hits", "expected"), [("1", 1_000), ("01", 500), ("1" * 10, 10_000), ("0000000001", 100), ("0", 0), ("", 0)]
)
def test_average_precision(hits: str, expected: int) -> None:
    assert average_precision([hit == "1" for hit in hits]) == expected


@given(st.lists(st.booleans(), min_size=10, max_size=10), st.integers(0, 9))
def test_a_metric_never_falls_because_a_user_took_up_more(hits: list[bool], place: int) -> None:
    """One hit at the first place was worth 1, and with a further one at the tenth .6."""
    more = [hit or number == place for number, hit in enumerate(hits)]
    assert average_precision(more) >= average_precision(hits)
    user, other = UserReplay(RULE), UserReplay(RULE)
    for one, taken in ((user, hits), (other, more)):
        shown(one, 1, 100)
        for number in np.flatnonzero(taken):
            acted(one, 200, ITEMS[number], CLICK | ENGAGE)
    assert other.totals["e"].precision >= user.totals["e"].precision


def test_of_a_user_the_first_lists_and_ratings_count() -> None:
    user = UserReplay(RULE)
    for number in range(1, 9):
        shown(user, number, 100 * number, ["i1", "i2"])
        acted(user, 100 * number + 10, "i1", CLICK | ENGAGE | RATE, named=f"r{number}", rating=4.0)
        acted(user, 100 * number + 20, "i2", CLICK | ENGAGE | CONVERT)
    totals = user.totals["e"]
    assert (totals.lists, totals.clicked, totals.engaged) == (5, 5, 5)
    assert totals.precision == 5 * average_precision([True, True])
    assert (totals.rated, totals.ratings) == (5, 5 * 4_000)
    assert (totals.events, totals.conversions, totals.last_ms) == (16, 8, 800)


def test_an_event_that_names_a_forced_list_counts_nowhere() -> None:
    """It raised the events of a user."""
    user = UserReplay(RULE)
    user.expose_forced("f1", 50)
    shown(user, 1, 100)
    user.expose_forced("f2", 150)
    acted(user, 200, "i1", CLICK | CONVERT, named="f1")
    acted(user, 200, "i1", CLICK | CONVERT, named="f2")
    totals = user.totals["e"]
    assert (totals.events, totals.clicked, totals.conversions, totals.lists) == (0, 0, 0, 1)
    acted(user, 210, "i1", CLICK)  # names none: the latest list that counts has it
    assert (totals.events, totals.clicked) == (1, 1)
    shown(user, 2, 300, experiment="f")
    acted(user, 310, "i1", CLICK, named="f2")
    assert user.totals["f"].events == 0


def test_a_user_of_two_variants_counts_for_none() -> None:
    user = UserReplay(RULE)
    shown(user, 1, 100)
    shown(user, 2, 200, variant="b")
    acted(user, 300, "i1", CLICK)
    assert variant_sums(user.totals.values()) == {"a": {"mixed": 1}}


def test_a_later_experiment_takes_over_and_the_end_of_one_is_its_end() -> None:
    user = UserReplay(RULE, ends={"e": 250})
    shown(user, 1, 100)
    acted(user, 200, "i1", CLICK)
    acted(user, 251, "i1", CLICK)
    shown(user, 2, 252)
    shown(user, 3, 300, experiment="f", variant="x")
    acted(user, 310, "i1", CLICK, named="r1")  # a list of the experiment before
    acted(user, 320, "i2", CLICK)
    assert (user.totals["e"].events, user.totals["e"].lists) == (1, 1)
    assert (user.totals["f"].events, user.totals["f"].clicked) == (2, 1)


def test_sums_hold_every_product_that_metrics_ask_for() -> None:
    users = [UserTotals("a", 0, 0, before=n, simulated=n == 0, lists=n + 1, clicked=n, events=2 * n) for n in range(4)]
    sums = add_sums(variant_sums(users).values())
    assert (
        set(sums)
        == set(STATISTICS)
        == {"n", "simulated", "mixed", *QUANTITIES}
        | {f"{name}^2" for name in QUANTITIES}
        | {f"{x}*{y}" for x, y in PRODUCTS}
    )
    pairs = pair_sums(sums, "clicked", "lists")
    assert (pairs.n, pairs.total, pairs.squares, pairs.other_total, pairs.products) == (4, 6, 14, 10, 20)
    assert sums["simulated"] == 1
    with pytest.raises(KeyError, match="lists and rated"):
        pair_sums(sums, "lists", "rated")
