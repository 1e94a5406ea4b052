import numpy as np
import scipy.sparse as sp

from models.ranking.item_relations import fit_ease, fit_follows, fit_relations, relation_arrays, relations_of


def test_ease_solves_its_problem() -> None:
    """Its weights minimise |X - XB|^2 + lambda |B|^2 with a zero diagonal: column by column a ridge regression."""
    seen = sp.random(40, 8, 0.4, "csr", rng=np.random.default_rng(0))
    seen.data[:] = 1.0
    found = fit_ease(sp.csr_matrix(seen), 3.0)
    x = seen.toarray()
    for column in range(8):
        others = [i for i in range(8) if i != column]
        ridge = np.linalg.solve(x[:, others].T @ x[:, others] + 3.0 * np.eye(7), x[:, others].T @ x[:, column])
        np.testing.assert_allclose(found[others, column], ridge, atol=1e-5)
    assert not np.diag(found).any()


def test_what_follows_is_found() -> None:
    """Everybody goes 0, 1, 2, 3, 4, 5, 6, 7: after 0 comes 1 more than 4, and nothing comes before."""
    user, item = np.repeat(np.arange(200), 8), np.tile(np.arange(8), 200)
    follows = fit_follows(user, item, np.tile(np.arange(8), 200), 8)
    assert follows[0, 1] > follows[0, 4]
    assert follows[0, 1] > follows[1, 0]
    tied = fit_follows(user, item, np.zeros(1600), 8)
    np.testing.assert_allclose(tied[0, 1], tied[1, 0], atol=0.5)


def test_large_catalogues_have_tables_only() -> None:
    seen = sp.csr_matrix(([1.0, 1.0], ([0, 0], [7, 4000])), shape=(2, 4001))
    user, item, times_ms = np.zeros(2, int), np.array([7, 4000]), np.array([1000, 2000])
    found = fit_relations(seen, user, item, times_ms)
    assert found.ease is None
    assert found.follows is None
    for table in (found.together, found.following, found.neighbours):
        assert table is not None
        assert table.items[table.edges[7] : table.edges[8]].tolist() == [4000]
    small = fit_relations(seen[:, :4000], np.zeros(1, int), np.array([7]), np.array([1000]))
    assert small.ease is not None
    assert small.follows is not None
    arrays = relation_arrays(found)
    again = relations_of(arrays)
    assert again is not None
    assert again.ease is None
    assert relation_arrays(again).keys() == arrays.keys()
    assert relations_of({}) is None
