"""What one user may count for."""

from hypothesis import given
from hypothesis import strategies as st

from models.monitoring.per_user import LatestOfUsers, UserLimit, bounded_total

USERS = st.lists(st.sampled_from("abcde"), max_size=60)


@given(USERS, st.integers(1, 4), st.integers(1, 12), st.integers(0, 60))
def test_the_latest_of_each_user_are_kept_in_the_order_in_which_they_came(
    users: list[str], most: int, kept: int, since: int
) -> None:
    latest: LatestOfUsers[tuple[str, int]] = LatestOfUsers(most, kept, lambda thing: thing[0])
    for place, user in enumerate(users):
        latest.extend([(user, place)])
    things = list(latest)
    assert latest.came == len(users)
    assert len(latest) == len(things) <= kept
    assert things == sorted(things, key=lambda thing: thing[1])
    assert latest.since(since) == [thing for thing in things if thing[1] >= since]
    for user in set(users):
        mine = [thing for thing in things if thing[0] == user]
        assert len(mine) <= most
        of_user = [(user, place) for place, other in enumerate(users) if other == user]
        assert mine == of_user[len(of_user) - len(mine) :]


@given(USERS, st.integers(1, 3))
def test_so_many_of_each_user_count_under_one_key(users: list[str], most: int) -> None:
    limit = UserLimit(most)
    admitted = [user for user in users if limit.admits(user, "day")]
    assert all(admitted.count(user) == min(most, users.count(user)) for user in users)
    assert all(limit.admits(user, "next day") for user in set(users))


def test_the_users_that_are_remembered_are_bounded() -> None:
    limit = UserLimit(1, users=2)
    assert [limit.admits(user, 0) for user in "ababcab"] == [True, True, False, False, True, True, True]


def test_counts_of_users_are_bounded() -> None:
    assert bounded_total([5_000, 1, 0, 3], 3) == 7
