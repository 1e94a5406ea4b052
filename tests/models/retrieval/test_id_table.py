from hypothesis import given, settings
from hypothesis import strategies as st

from models.retrieval.id_table import IdTable

ids = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=6).map(str.encode), unique=True, max_size=60
)


@settings(max_examples=150, deadline=None)
@given(first=ids, later=ids, asked=ids)
def test_it_finds_what_a_dict_finds(first: list[bytes], later: list[bytes], asked: list[bytes]) -> None:
    table, known = IdTable(first), {one: place for place, one in enumerate(first)}
    for one in later:
        if one not in known:
            known[one] = len(known)
            table.extend([one])
    assert len(table) == len(known)
    wanted = asked + later + first
    assert table.find(b"\n".join(wanted), len(wanted)).tolist() == [known.get(one, -1) for one in wanted]
    assert [table.find_one(one) for one in wanted] == [known.get(one, -1) for one in wanted]


def test_nothing_is_found_in_nothing() -> None:
    assert IdTable().find(b"a\nb", 2).tolist() == [-1, -1]
    assert IdTable([b"a"]).find(b"", 0).tolist() == []


def test_ids_that_differ_little_do_not_crowd_together() -> None:
    """Numbers in a row are the usual ids: the longest chain of full slots stays short."""
    table = IdTable([b"%d" % number for number in range(100_000)])
    assert table.find(b"99999\n100000", 2).tolist() == [99_999, -1]
    assert table.longest_search() < 100


def test_the_longest_search_is_counted_over_the_end() -> None:
    assert IdTable().longest_search() == 0
    assert IdTable([b"a"]).longest_search() == 1
    most = max(IdTable([b"%d" % number for number in range(n)]).longest_search() for n in (3, 5, 9, 17))
    assert 1 < most <= 17
