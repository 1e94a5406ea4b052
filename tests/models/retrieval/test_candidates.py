"""Candidate generation against brute force, on a small model with known factors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from models.bundle.arrays import BundleContents
from models.bundle.manifest import ContentFacts, DataFacts, IndexFacts, ManifestFields, RankerFacts
from models.bundle.reading import Bundle, load_bundle
from models.bundle.writing import write_bundle
from models.content.content_map import ContentMap
from models.content.description import Description, content_fields
from models.content.fitting import fit_inputs
from models.factors.als import AlsParameters
from models.ranking.features import FEATURES, FEATURES_HASH
from models.ranking.item_relations import ItemRelations
from models.ranking.item_table import ItemStatistics
from models.ranking.ranker import RankerParameters, fit_ranker
from models.ranking.ranking_parts import RankingParts
from models.relations.more_sources import MoreSources
from models.relations.past_events import PastEvents
from models.relations.top_k import TopK
from models.retrieval.candidates import CandidateModel, Source
from models.retrieval.query import Filter, Query
from models.retrieval.shelf import Shelf, ShelfBuilder, ShelfItem

N_ITEMS, N_FACTORS = 400, 8
GENRES = ("Action", "Comedy", "Drama")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    generator = np.random.default_rng(7)
    factors = generator.normal(size=(N_ITEMS, N_FACTORS)).astype(np.float32)
    users = generator.normal(size=(5, N_FACTORS)).astype(np.float32)
    contents = BundleContents(
        item_ids=np.array([str(n) for n in range(N_ITEMS)], object),
        user_ids=np.array([f"u{n}" for n in range(5)], object),
        item_factors=factors,
        user_factors=users,
        mean_user=users.mean(axis=0),
        item_counts=np.arange(1, N_ITEMS + 1, dtype=np.int64)[::-1].copy(),
        item_last_ms=np.zeros(N_ITEMS, np.int64),
    )
    fields = ManifestFields(
        parameters=AlsParameters(factors=N_FACTORS, regularization=1.0, alpha=4.0, iterations=1),
        weighting="preference",
        event_preset="movies",
        seed=7,
        user_id_type="str",
        item_id_type="int",
        data=DataFacts(name="made", fingerprint="0", n_interactions=1, last_ms=0),
        index=IndexFacts(kind="flat", recall=1.0),
    )
    path: Path = write_bundle(tmp_path_factory.mktemp("bundles"), contents, fields)
    return load_bundle(path)


@pytest.fixture(scope="module")
def model(made: Bundle) -> CandidateModel:
    return CandidateModel(made, prior_weight=0.5)


@pytest.fixture(params=[pytest.param(65_536, id="small"), pytest.param(0, id="large")], autouse=True)
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters work in one way for small catalogues and in another for large ones: every test sees both."""
    monkeypatch.setattr("models.retrieval.query.SMALL", request.param)


@pytest.fixture
def builder(model: CandidateModel) -> ShelfBuilder:
    builder = ShelfBuilder([str(n).encode() for n in range(N_ITEMS)], model.item_counts, model.item_factors)
    builder.update([ShelfItem(str(n).encode(), (GENRES[n % 3],), True, 1000 + n) for n in range(N_ITEMS)])
    return builder


def query(items: list[int] | None = None, n: int = 10, exclude: list[int] | None = None, **rest: object) -> Query:
    history = np.array(items or [], np.int64)
    gone = np.array(exclude or [], np.int64)
    return Query(history, np.ones(len(history), np.float32), gone, n, **rest)  # type: ignore[arg-type]


def brute_force(model: CandidateModel, shelf: Shelf, asked: Query, allowed: np.ndarray) -> list[int]:
    vector = model.user_model.solve([asked.items], [asked.weights])[0][0]
    scores = np.where(allowed & shelf.visible[: model.n_items], model.item_factors @ vector, -np.inf)
    scores[asked.exclude] = -np.inf
    return [int(item) for item in np.argsort(-scores, kind="stable")[: asked.n] if scores[item] > -np.inf]


def test_top_k_equals_brute_force_for_a_batch(model: CandidateModel, builder: ShelfBuilder) -> None:
    shelf = builder.shelf()
    queries = [query([3, 5], exclude=[3, 5]), query([1], n=150), query(list(range(60)), exclude=list(range(300)))]
    for asked, found in zip(queries, model.retrieve(queries, shelf), strict=True):
        assert found.items.tolist() == brute_force(model, shelf, asked, np.ones(N_ITEMS, bool))
        assert set(found.sources.tolist()) == {Source.FOLD_IN}
        assert not found.cold_start
        assert (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize("n", [1, 10, 100])
def test_the_list_is_full_under_any_filter(model: CandidateModel, builder: ShelfBuilder, n: int) -> None:
    """The best items are all seen or of other categories: the list is filled from what is left, in exact order."""
    shelf = builder.shelf()
    asked = query([0, 3], n=n, exclude=list(range(100)), include_categories=("Drama",))
    [found] = model.retrieve([asked], shelf)
    drama = np.arange(N_ITEMS) % 3 == 2
    assert found.items.tolist() == brute_force(model, shelf, asked, drama)
    assert len(found.items) == n


def test_excluded_categories_stay_away(model: CandidateModel, builder: ShelfBuilder) -> None:
    [found] = model.retrieve([query([0], n=100, exclude_categories=("Action", "Comedy"))], builder.shelf())
    assert (found.items % 3 == 2).all()
    assert len(found.items) == 100


def test_a_category_that_lost_its_last_item_excludes_nothing(model: CandidateModel, builder: ShelfBuilder) -> None:
    builder.update([ShelfItem(b"7", ("Once",), True, 1)])
    builder.update([ShelfItem(b"7", ("Action",), True, 1)])
    shelf = builder.shelf()
    [found] = model.retrieve([query([0], n=50, exclude_categories=("Once",))], shelf)
    [all_of_them] = model.retrieve([query([0], n=50)], shelf)
    assert found.items.tolist() == all_of_them.items.tolist()


def test_an_unknown_category_gives_an_empty_list_and_not_everything(
    model: CandidateModel, builder: ShelfBuilder
) -> None:
    [found] = model.retrieve([query([0], include_categories=("Opera",))], builder.shelf())
    assert found.items.tolist() == []


def test_cold_start_asks_trending_then_popular(model: CandidateModel, builder: ShelfBuilder) -> None:
    assert builder.places([b"250", b"0", b"unheard of"]).tolist() == [250, 0, -1]
    builder.set_trending(np.array([250, 0]), np.array([1.0, 0.5]))
    [found] = model.retrieve([query(n=5)], builder.shelf())
    assert found.cold_start
    assert found.items.tolist() == [250, 0, 1, 2, 3]
    assert found.sources.tolist() == [Source.TRENDING] * 2 + [Source.POPULAR] * 3


def test_a_trained_user_without_history_gets_the_trained_vector(model: CandidateModel, builder: ShelfBuilder) -> None:
    [found] = model.retrieve([query(trained_user=2)], builder.shelf())
    expected = np.argsort(-(model.item_factors @ model.user_factors[2]), kind="stable")[:10]
    assert found.items.tolist() == expected.tolist()
    assert set(found.sources.tolist()) == {Source.TRAINED}
    assert not found.cold_start


def test_a_new_item_can_be_shown_at_once_and_a_hidden_one_never(model: CandidateModel, builder: ShelfBuilder) -> None:
    builder.update([ShelfItem(b"new", ("Opera",), True, 999_999)])
    builder.estimate(1)
    [found] = model.retrieve([query(n=5, include_categories=("Opera",))], builder.shelf())
    assert [builder.ids[place] for place in found.items] == [b"new"]
    assert found.sources.tolist() == [Source.NEWEST]
    builder.update([ShelfItem(b"new", ("Opera",), False, 999_999)])
    for asked in (query(n=5, include_categories=("Opera",)), query([0], n=400), query(n=400)):
        [found] = model.retrieve([asked], builder.shelf())
        assert b"new" not in [builder.ids[place] for place in found.items]


def test_a_new_item_scores_by_the_mean_factors_of_its_category(model: CandidateModel, builder: ShelfBuilder) -> None:
    builder.update([ShelfItem(b"new", ("Drama",), True, 999_999)])
    builder.estimate(1)
    asked = query([2, 5, 8], n=N_ITEMS + 1)
    [found] = model.retrieve([asked], builder.shelf())
    place = found.items.tolist().index(N_ITEMS)
    vector = model.user_model.solve([asked.items], [asked.weights])[0][0]
    assert found.sources[place] == Source.CATEGORY
    assert found.scores[place] == pytest.approx(model.item_factors[2::3].mean(axis=0) @ vector, rel=1e-5)


def test_further_sources_stand_behind_the_others(tmp_path: Path, made: Bundle, builder: ShelfBuilder) -> None:
    """Each as long as the manifest says, labelled, none of them twice, and nothing that may not be shown."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(200, len(FEATURES))).astype(np.float32)
    ranking = RankerParameters(trees=2, smallest_leaf=5)
    ranker = fit_ranker(features, features[:, 0] > 1, np.full(10, 20), ranking, seed=0)
    # The tables say of every item that the next two come after it, and that those 100 later are its neighbours.
    edges, nothing = 2 * np.arange(N_ITEMS + 1), np.full(N_ITEMS, np.nan, np.float32)
    weights = np.tile(np.array([2.0, 1.0], np.float32), N_ITEMS)
    after, near = (
        TopK(
            edges,
            np.stack([(np.arange(N_ITEMS) + step) % N_ITEMS for step in steps], 1).astype(np.int32).ravel(),
            weights,
        )
        for steps in ((1, 2), (100, 101))
    )
    statistics = ItemStatistics(made.item_counts, nothing, nothing, nothing.astype(np.float64))
    relations = ItemRelations(None, None, after, after, near)
    contents = {name: getattr(made, name) for name in BundleContents.__dataclass_fields__}
    manifest = made.manifest.model_dump(include=set(ManifestFields.model_fields))
    more = MoreSources(repeats=1, follows=3, neighbours=1)
    facts = RankerFacts(features_hash=FEATURES_HASH, parameters=ranking, lists=1, candidates=5, trending=2, more=more)
    path = write_bundle(
        tmp_path,
        BundleContents(**contents | {"ranking": RankingParts(ranker, statistics, relations)}),
        ManifestFields(**manifest | {"ranker": facts}),
    )
    serving = CandidateModel(load_bundle(path), prior_weight=0.5)
    past = PastEvents(np.array([9, 9, 300]), np.ones(3), np.zeros(3))
    asked = query([10, 20], n=5, exclude=[22], recent=np.array([20, 10, -1]), past=past)
    builder.set_trending(np.array([7, 8]), np.ones(2))
    [found] = serving.retrieve([asked], builder.shelf())
    first = brute_force(serving, builder.shelf(), asked, np.ones(N_ITEMS, bool))
    assert not {7, 8, 9, 11, 12, 21, 120} & set(first)
    assert found.items.tolist() == [*first, 7, 8, 9, 21, 11, 12, 120]
    names = ["FOLD_IN"] * 5 + ["TRENDING"] * 2 + ["REPEAT"] + ["FOLLOWS"] * 3 + ["NEIGHBOUR"]
    assert [Source(source).name for source in found.sources.tolist()] == names
    assert found.folded == len(found.items)
    vector = serving.user_model.solve([asked.items], [asked.weights])[0][0]
    np.testing.assert_allclose(found.scores, serving.item_factors[found.items] @ vector, rtol=1e-4)
    # Without a history of its own a list has no use for them.
    [cold] = serving.retrieve([query(n=5)], builder.shelf())
    assert cold.folded == 0


@pytest.fixture(scope="module")
def described(made: Bundle, tmp_path_factory: pytest.TempPathFactory) -> CandidateModel:
    """The same model with a content map: a maker is worth one factor."""
    makers = [Description("", attributes={"maker": f"m{n % N_FACTORS}"}) for n in range(2 * N_FACTORS)]
    inputs = fit_inputs(makers, content_fields({"maker": "keyword"}), 0.0)
    weights = np.zeros((inputs.width, N_FACTORS), np.float32)
    weights[1 : 1 + N_FACTORS] = 3 * np.eye(N_FACTORS)
    contents = {name: getattr(made, name) for name in BundleContents.__dataclass_fields__}
    manifest = made.manifest.model_dump(include=set(ManifestFields.model_fields))
    path = write_bundle(
        tmp_path_factory.mktemp("described"),
        BundleContents(**contents | {"content": ContentMap(inputs, weights)}),
        ManifestFields(**manifest | {"content": ContentFacts(fields=inputs.fields)}),
    )
    return CandidateModel(load_bundle(path), prior_weight=0.5)


class Made:
    """A shelf of the described model, and who made its new items."""

    def __init__(self, model: CandidateModel, most: int = 50_000) -> None:
        self.makers: dict[bytes, str] = {}
        ids = [str(n).encode() for n in range(N_ITEMS)]
        given = {"content": model.content, "describe": self._describe, "most_new": most}
        self.builder = ShelfBuilder(ids, model.item_counts, model.item_factors, **given)  # type: ignore[arg-type]

    def put(self, name: bytes, maker: str, categories: tuple[str, ...] = (), shown: bool = True) -> None:
        self.makers[name] = maker
        self.builder.update([ShelfItem(name, categories, shown, 999_999)])
        self.builder.estimate(100)

    def _describe(self, item_ids: Sequence[bytes]) -> list[Description]:
        return [Description("New", attributes={"maker": self.makers[name]}) for name in item_ids]


def test_a_new_item_scores_by_what_is_written_of_it_and_again_when_that_changes(described: CandidateModel) -> None:
    made = Made(described)
    builder = made.builder
    # Its category is the same for all and says nothing: what is written of it is asked alone.
    builder.update([ShelfItem(str(n).encode(), ("Drama",), True, 1) for n in range(N_ITEMS)])
    made.put(b"new", "m2", ("Drama",))
    made.put(b"unknown", "nobody", ("Drama",))
    asked = query([2, 5, 8], n=N_ITEMS + 2)
    vector = described.user_model.solve([asked.items], [asked.weights])[0][0]
    for maker, factor in (("m2", 2), ("m5", 5)):
        made.put(b"new", maker, ("Drama",))
        [found] = described.retrieve([asked], builder.shelf())
        place = found.items.tolist().index(N_ITEMS)
        assert found.sources[place] == Source.CONTENT
        assert found.scores[place] == pytest.approx(3 * vector[factor], rel=1e-5)
        assert found.sources[found.items.tolist().index(N_ITEMS + 1)] == Source.NEWEST
    for left_out in ({"exclude": [N_ITEMS]}, {"exclude_categories": ("Drama",)}):
        [found] = described.retrieve([query([2, 5, 8], n=50, **left_out)], builder.shelf())  # type: ignore[arg-type]
        assert N_ITEMS not in found.items


def test_new_items_are_neighbours_of_others_and_have_neighbours(described: CandidateModel) -> None:
    made = Made(described)
    builder = made.builder
    for name, maker in ((b"one", "m2"), (b"two", "m2"), (b"three", "m4"), (b"unknown", "?")):
        made.put(name, maker)
    shelf = builder.shelf()
    one, two, three, unknown = range(N_ITEMS, N_ITEMS + 4)
    items, cosines = described.similar(one, 5, shelf)
    assert items[0] == two
    assert cosines[0] == pytest.approx(1.0)
    assert one not in items
    nearest = int(np.argmax(described.item_factors[:, 4] / np.linalg.norm(described.item_factors, axis=1)))
    assert three in described.similar(nearest, 3, shelf)[0]
    assert not len(described.similar(unknown, 5, shelf)[0])
    made.put(b"two", "m2", shown=False)
    assert two not in described.similar(one, 5, builder.shelf())[0]


def test_a_shelf_in_use_does_not_change(model: CandidateModel, builder: ShelfBuilder) -> None:
    before = builder.shelf()
    builder.update([ShelfItem(b"3", ("Comedy",), False, 1), ShelfItem(b"new", (), True, 2)])
    assert before.visible[3]
    assert len(before.visible) == N_ITEMS
    assert not builder.shelf().visible[3]


@pytest.mark.parametrize("n_new", [3, 300])
def test_among_many_new_items_the_best_that_may_be_shown_are_found(described: CandidateModel, n_new: int) -> None:
    made = Made(described)
    generator = np.random.default_rng(4)
    for n in range(n_new):
        made.put(b"new %d" % n, f"m{generator.integers(N_FACTORS)}", ("Even" if n % 2 else "Odd",), bool(n % 7))
    shelf = made.builder.shelf()
    factors = np.concatenate([described.item_factors, described.factors_of(N_ITEMS + np.arange(n_new), shelf)])
    exclude = (N_ITEMS + generator.permutation(n_new)[: n_new // 2]).tolist()
    for rest in ({}, {"include_categories": ("Even",)}, {"exclude": exclude}):
        asked = query([2, 5, 8], n=20, **rest)  # type: ignore[arg-type]
        [found] = described.retrieve([asked], shelf)
        scores = factors @ described.user_model.solve([asked.items], [asked.weights])[0][0]
        scores[~Filter(asked, shelf).mask()] = -np.inf
        best = np.sort(scores)[::-1][:20]
        np.testing.assert_allclose(found.scores[: found.folded], best[best > -np.inf], rtol=1e-4)
