"""From what is written of an item to its vector: inputs, ridge regression, and what is not known."""

import numpy as np
import pytest

from models.content.content_map import ContentMap
from models.content.description import TEXT_READ, ContentField, Description, content_fields, words_of
from models.content.fitting import RidgeParameters, fit_inputs, fit_ridge

FIELDS = content_fields(
    {"maker": "keyword", "tags": "keywords", "price": "number", "sale": "flag", "about": "text", "out": "time"}
)
RIDGE = RidgeParameters(pull=1e-3, power=0.0, word_scale=1.0)


def item(n: int) -> Description:
    """One of six kinds, each with a price of its own."""
    return Description(
        f"Thing of kind {'abcdef'[n % 6]}x",
        1990 + n % 6,
        ("Odd" if n % 2 else "Even",),
        {
            "maker": f"maker {n % 3}",
            "tags": ["all", f"tag {n % 2}"],
            "price": float(n % 6),
            "sale": n % 2 == 0,
            "about": "Words, and MORE words.",
            "out": 1_600_000_000_000 + n % 6,
        },
    )


ITEMS = [item(n) for n in range(60)]


def fitted(factors: np.ndarray, items: list[Description] = ITEMS, word_scale: float = 1.0) -> ContentMap:
    inputs = fit_inputs(items, FIELDS, word_scale)
    rows, _ = inputs.rows(items)
    return ContentMap(inputs, fit_ridge(rows, factors, np.ones(len(items)), RIDGE))


def test_a_new_item_gets_the_vector_of_those_that_are_described_alike() -> None:
    factors = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    content = fitted(factors[np.arange(60) % 6])
    new = item(3)._replace(title="Never seen before: kind dx")
    np.testing.assert_allclose(content.factors([new, item(4)]), factors[[3, 4]], atol=0.1)


def test_the_solution_is_that_of_the_normal_equations() -> None:
    generator = np.random.default_rng(1)
    rows, _ = fit_inputs(ITEMS, FIELDS, 1.0).rows(ITEMS)
    factors, events = generator.normal(size=(60, 3)), generator.integers(1, 50, 60)
    parameters = RidgeParameters(pull=2.0, power=0.5, word_scale=1.0)
    weight = np.sqrt(events) / np.sqrt(events).mean()
    dense = rows.toarray().astype(float)
    pull = np.full(dense.shape[1], 2.0)
    pull[0] = 1e-6
    expected = np.linalg.solve(
        dense.T @ (weight[:, None] * dense) + np.diag(pull), dense.T @ (weight[:, None] * factors)
    )
    np.testing.assert_allclose(dense @ fit_ridge(rows, factors, events, parameters), dense @ expected, atol=2e-3)


def test_one_item_or_many_at_once_get_the_same_vectors() -> None:
    content = fitted(np.random.default_rng(2).normal(size=(60, 4)))
    np.testing.assert_allclose(
        content.factors(ITEMS), np.concatenate([content.factors([one]) for one in ITEMS]), rtol=1e-5, atol=1e-6
    )


def test_nothing_is_claimed_of_an_item_of_which_nothing_is_known() -> None:
    content = fitted(np.ones((60, 4)))
    unknown = Description("Zzz", None, ("Opera",), {"maker": "nobody", "other": 7.0})
    assert not content.factors([unknown]).any()
    assert content.factors([unknown._replace(year=1990)]).any()
    assert content.factors([unknown._replace(title="thing")]).any()
    assert not fitted(np.ones((60, 4)), word_scale=0.0).factors([unknown._replace(title="thing")]).any()


@pytest.mark.parametrize(
    "attributes",
    [
        {"maker": 7.0, "tags": "all", "price": "3", "sale": 1.0, "about": ["words"], "out": True},
        {"maker": ["maker 1"], "tags": 1, "price": [2.0], "sale": "True", "about": False, "out": "now"},
    ],
)
def test_a_value_of_another_type_is_as_good_as_none(attributes: dict[str, object]) -> None:
    """An attribute may be declared anew with another type while the model keeps the old one."""
    content = fitted(np.random.default_rng(3).normal(size=(60, 4)))
    bare = Description("Thing of kind ax", 1990)
    odd = bare._replace(attributes=attributes)  # type: ignore[arg-type]
    np.testing.assert_array_equal(content.factors([odd]), content.factors([bare]))


def test_a_text_is_read_up_to_its_bound_and_words_are_the_same_in_any_case() -> None:
    fields = (ContentField(name="about", type="text"),)
    long = Description("ÄRGER ohne Ende", attributes={"about": "word " * 200 + "last"})
    assert words_of(long, fields) == ["ärger", "ohne", "ende", "word"]
    assert len("word " * 200) > TEXT_READ


def test_a_number_far_out_moves_a_vector_no_further_than_a_large_one() -> None:
    content = fitted(np.random.default_rng(4).normal(size=(60, 4)))
    far, farther = (item(0)._replace(attributes={"price": price}) for price in (1e6, 1e300))
    np.testing.assert_array_equal(content.factors([far]), content.factors([farther]))
    assert np.isfinite(content.factors([far])).all()


def test_a_vector_of_the_users_own_is_read_where_it_has_the_usual_length() -> None:
    generator = np.random.default_rng(5)
    given = generator.normal(size=(300, 6))
    factors = (given @ generator.normal(size=(6, 4))).astype(np.float32)
    items = [Description("", attributes={"meaning": row.tolist()}) for row in given]
    items[0] = Description("", attributes={"meaning": [1.0]})
    fields = content_fields({"meaning": "vector"}, items)
    assert fields == (ContentField(name="meaning", type="vector", length=6),)
    inputs = fit_inputs(items[:200], fields, 1.0)
    rows, _ = inputs.rows(items[:200])
    content = ContentMap(inputs, fit_ridge(rows[1:], factors[1:200], np.ones(199), RIDGE))
    found = content.factors(items[200:])
    assert np.corrcoef(found.ravel(), factors[200:].ravel())[0, 1] > 0.99
    assert not content.factors([items[0], Description("", attributes={"meaning": ["a"] * 6})]).any()
