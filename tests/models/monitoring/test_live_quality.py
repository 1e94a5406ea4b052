import pytest

from models.monitoring.live_quality import LISTS_A_DAY, LiveQuality, Shown, add_up, category_diversity

WINDOW = 1000


def shown(name: str, user: str = "u", at: int = 0, items: str = "abcde") -> Shown:
    return Shown(name, user, at, "v1", tuple(items))


def test_a_list_is_judged_by_what_followed_it() -> None:
    live = LiveQuality(WINDOW)
    live.show(shown("one"))
    live.take_up("u", "b", 10)
    live.take_up("u", "d", 20)
    live.take_up("u", "z", 30)  # liked, but not on the list
    assert live.close(WINDOW) == []
    [judged] = live.close(WINDOW + 1)
    assert (judged.clicked, judged.hit) == (True, True)
    assert judged.precision == pytest.approx((1 / 2 + 2 / 4) / 10)
    assert judged.relevant == 3
    assert live.open_lists == 0


def test_without_anything_relevant_a_hit_is_undefined() -> None:
    live = LiveQuality(WINDOW)
    live.show(shown("one"))
    live.show(shown("two", "other"))
    live.take_up("other", "z", 5)
    nothing, missed = live.close(2 * WINDOW)
    assert (nothing.clicked, nothing.hit, nothing.precision) == (False, None, 0.0)
    assert (missed.clicked, missed.hit, missed.precision) == (False, False, 0.0)


def test_an_event_belongs_to_the_list_that_it_names_and_else_to_the_latest() -> None:
    live = LiveQuality(WINDOW)
    live.show(shown("one", at=0))
    live.show(shown("two", at=10))
    live.take_up("u", "a", 20, "one")
    live.take_up("u", "b", 30)
    live.take_up("u", "c", 40, "a list that nobody knows")
    first, second = live.close(5 * WINDOW)
    assert first.precision == pytest.approx(1 / 10)
    assert second.precision == pytest.approx((1 / 2 + 2 / 3) / 10)


def test_an_event_after_the_time_belongs_to_no_list() -> None:
    live = LiveQuality(WINDOW)
    live.show(shown("one"))
    live.take_up("u", "a", WINDOW + 1)
    assert live.close(WINDOW + 1)[0].clicked is False


def test_sums_are_whole_numbers_by_version_and_day() -> None:
    live = LiveQuality(WINDOW)
    for number, item in enumerate("abz"):
        live.show(shown(f"list {number}", f"user {number}"))
        live.take_up(f"user {number}", item, 5)
    live.show(shown("silent", "nobody"))
    categories = dict.fromkeys("abcde", ("x",))
    assert add_up(live.close(5000), categories) == {
        ("v1", "1970-01-01"): {
            "lists": 4, "clicked": 2, "judged": 3, "hits": 2, "ranked": 4, "average_precision": 150_000, "diverse": 4,
            "diversity": 0,
        }
    }  # fmt: skip


def test_the_mean_precision_never_falls_because_a_user_took_up_more() -> None:
    """Something liked that was not on the list made the list count less, and a silent list count at all."""
    means = []
    for taken in ("", "z", "zb", "zba", "zbay"):
        live = LiveQuality(WINDOW)
        live.show(shown("one"))
        live.show(shown("two", "other"))
        live.take_up("other", "c", 5)
        for item in taken:
            live.take_up("u", item, 5)
        (sums,) = add_up(live.close(5000), {}).values()
        means.append(sums["average_precision"] / sums["ranked"])
    assert means == sorted(means)


def test_a_forced_list_and_what_names_it_count_nowhere() -> None:
    live = LiveQuality(WINDOW)
    live.show(shown("one"))
    live.show(Shown("forced", "u", 10, "v1", tuple("abcde"), forced=True))
    live.take_up("u", "a", 20, "forced")
    live.take_up("u", "b", 30)
    [judged] = live.close(5 * WINDOW)
    assert (judged.relevant, judged.precision) == (1, pytest.approx(1 / 20))
    live.show(Shown("forced", "v", 10, "v1", tuple("abcde"), forced=True))
    live.take_up("v", "a", 20)
    assert live.close(5 * WINDOW) == []


def test_a_robot_is_one_user_among_others() -> None:
    """5,000 lists of one user, all taken up, made the click rate of the day."""
    live, day_ms = LiveQuality(WINDOW), 86_400_000
    for number in range(5_000):
        live.show(shown(f"robot {number}", "robot", number))
        live.take_up("robot", "a", number, f"robot {number}")
    for number in range(400):
        live.show(shown(f"list {number}", f"user {number}", 5_000 + number))
    judged = live.close(day_ms - 1)
    assert (len(judged), sum(one.clicked for one in judged)) == (400 + LISTS_A_DAY, LISTS_A_DAY)
    live.show(shown("next day", "robot", day_ms))
    assert len(live.close(2 * day_ms)) == 1


def test_diversity_of_categories() -> None:
    assert category_diversity([["a"], ["a"], []]) == 0.0
    assert category_diversity([["a"], ["b"]]) == 1.0
    half = category_diversity([["a", "b"], ["a"]])
    assert half is not None
    assert abs(half - (1 - 0.5**0.5)) < 1e-12
    assert category_diversity([["a"], []]) is None
