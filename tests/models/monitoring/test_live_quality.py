from models.monitoring.live_quality import LiveQuality, Shown, add_up, category_diversity

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
    assert judged.precision == (1 / 2 + 2 / 4) / 3
    assert live.open_lists == 0


def test_nothing_relevant_is_undefined_and_not_zero() -> None:
    live = LiveQuality(WINDOW)
    live.show(shown("one"))
    live.show(shown("two", "other"))
    live.take_up("other", "z", 5)
    nothing, missed = live.close(2 * WINDOW)
    assert (nothing.clicked, nothing.hit, nothing.precision) == (False, None, None)
    assert (missed.clicked, missed.hit, missed.precision) == (False, False, 0.0)


def test_an_event_belongs_to_the_list_that_it_names_and_else_to_the_latest() -> None:
    live = LiveQuality(WINDOW)
    live.show(shown("one", at=0))
    live.show(shown("two", at=10))
    live.take_up("u", "a", 20, "one")
    live.take_up("u", "b", 30)
    live.take_up("u", "c", 40, "a list that nobody knows")
    first, second = live.close(5 * WINDOW)
    assert first.precision == 1.0
    assert second.precision == (1 / 2 + 2 / 3) / 2


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
            "lists": 4, "clicked": 2, "judged": 3, "hits": 2, "precision": 1_500_000, "diverse": 4, "diversity": 0,
        }
    }  # fmt: skip


def test_diversity_of_categories() -> None:
    assert category_diversity([["a"], ["a"], []]) == 0.0
    assert category_diversity([["a"], ["b"]]) == 1.0
    half = category_diversity([["a", "b"], ["a"]])
    assert half is not None
    assert abs(half - (1 - 0.5**0.5)) < 1e-12
    assert category_diversity([["a"], []]) is None
