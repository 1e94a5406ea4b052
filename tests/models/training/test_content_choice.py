"""Whether what is written of items says who takes them up: chosen where it does, left away where it does not."""

import numpy as np
import scipy.sparse as sp

from models.content.description import Description
from models.factors.als import AlsParameters, fit_als
from models.factors.fold_in import FoldIn
from models.training.content_choice import ContentChoice, choose_content
from models.training.item_facts import Described, ItemFacts

N_USERS, N_ITEMS, TASTES = 200, 240, 8


def chosen(describe: bool, told: bool = True, categories: bool = False, n_items: int = N_ITEMS) -> ContentChoice:
    """Users of eight tastes take up items of theirs; makers say the taste of an item where `describe`, or are dealt at
    random."""
    generator = np.random.default_rng(0)
    taste = np.arange(n_items) % TASTES
    chance = np.where(np.arange(N_USERS)[:, None] % TASTES == taste, 0.5, 0.01)
    weights = sp.csr_matrix((generator.random((N_USERS, n_items)) < chance).astype(np.float32))
    parameters = AlsParameters(factors=16, regularization=5.0, alpha=4.0, iterations=5)
    factors = fit_als(weights, parameters, 0)
    maker = taste if describe else generator.integers(TASTES, size=n_items)
    described = Described(
        [Description("Thing", attributes={"maker": f"m{one}"}) for one in maker], {"maker": "keyword"}
    )
    members = {f"c{one}": np.flatnonzero(taste == one) for one in range(TASTES)} if categories else {}
    facts = ItemFacts(np.full(n_items, np.nan, np.float32), members, described=described if told else None)
    fold_in = FoldIn(factors.item_factors, 5.0, 4.0, factors.user_factors.mean(axis=0))
    return choose_content(facts, weights, factors.item_factors, fold_in, False, 0)


def test_a_map_is_used_where_it_finds_the_users_of_items_that_were_left_out() -> None:
    choice = chosen(describe=True)
    assert choice.content is not None
    assert choice.metrics["new_items_content_recall_at_50"] > 0.8
    assert choice.metrics["new_items_category_recall_at_50"] == 0.0
    assert choice.note.startswith("new items: by what is written of them; recall@50 0.")


def test_the_categories_stay_where_nothing_written_says_more() -> None:
    choice = chosen(describe=False, categories=True)
    assert choice.content is None
    assert choice.metrics["new_items_category_recall_at_50"] > choice.metrics["new_items_content_recall_at_50"]
    assert choice.note.startswith("new items: by their categories; recall@50 ")


def test_it_says_why_nothing_was_learned() -> None:
    assert "nothing else is written" in chosen(describe=True, told=False).note
    few = chosen(describe=True, n_items=16)
    assert few.content is None
    assert "too few to learn" in few.note


def test_the_same_seed_gives_the_same_map() -> None:
    one, other = chosen(describe=True).content, chosen(describe=True).content
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(one.weights, other.weights)
