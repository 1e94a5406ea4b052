"""From data and parameters to a bundle: the evaluation on the latest part, and the fit on everything."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from configs.settings import Settings
from data.dataset import DataError
from data.matrix import pairs_to_csr
from data.splits import Split, inner_split, temporal_split
from models.bundle.arrays import BundleContents
from models.bundle.manifest import ContentFacts, DataFacts, IndexFacts, ManifestFields, RankerFacts
from models.bundle.reading import list_bundles
from models.bundle.writing import write_bundle
from models.content.content_map import ContentMap
from models.content.young_items import young_items
from models.evaluation.held_out import build_fold, evaluate
from models.factors.als import AlsParameters, fit_als
from models.factors.fold_in import FoldIn
from models.monitoring.bias import BiasTerms, fit_bias
from models.ranking.features import FEATURES_HASH
from models.ranking.item_relations import fit_relations
from models.ranking.item_table import item_statistics
from models.ranking.ranking_parts import RankingParts
from models.relations.near_state import NearState
from models.retrieval.index import ItemIndex
from models.training.content_choice import ContentChoice, choose_content
from models.training.event_walks import count_events
from models.training.item_facts import ItemFacts
from models.training.ranker_windows import FittedRanker
from models.training.training_data import TrainingData

TEST_SHARE = 0.1
_INDEX_SAMPLE = 200


def cutoff(data: TrainingData, seed: int) -> Split:
    """The latest tenth of the events is the test, the rest is for choosing parameters; a random tenth of each user's
    where the times cannot be trusted."""
    if not data.time_trusted:
        return inner_split(data.user, seed, TEST_SHARE)
    return temporal_split(data.times_ms, data.user, data.item, TEST_SHARE)


def evaluate_latest(data: TrainingData, settings: Settings, parameters: AlsParameters, seed: int) -> dict[str, float]:
    """Metrics of these parameters on the test of `cutoff`; see `models.evaluation.held_out.evaluate`."""
    fold = build_fold(data, cutoff(data, seed), settings.training.weighting)
    return evaluate(fold, parameters, settings.serving.prior_weight, seed, settings.training.threads)


def fit_bundle(
    data: TrainingData,
    settings: Settings,
    parameters: AlsParameters,
    seed: int,
    metrics: dict[str, float],
    fitted: FittedRanker | None = None,
    catalogue: ItemFacts | None = None,
    note: Callable[[str], None] | None = None,
) -> Path:
    """Fit on all the data and write the bundle.

    Args:
        fitted: the ranker that goes with it; needs `catalogue`.
        catalogue: what is written of the items, for the vectors of new ones.
        note: is told what was measured of those.

    Returns:
        the directory of the new version.

    Raises:
        DataError: no event speaks for any item.
    """
    interest = data.interest(settings.training.weighting)
    n_items = len(data.items)
    weights = pairs_to_csr(interest.users, interest.items, interest.weights, len(data.users), n_items)
    if weights.nnz == 0:
        raise DataError(f"{data.name}: no event speaks for any item, so there is nothing to learn")
    factors = fit_als(weights, parameters, seed, settings.training.threads)
    active = np.flatnonzero(np.diff(weights.indptr))
    counts = np.bincount(weights.indices, minlength=n_items).astype(np.int64)
    mean_user = factors.user_factors[active].mean(axis=0)
    choice = ContentChoice(None, {}, "")
    if catalogue is not None and settings.training.content:
        fold_in = FoldIn(
            factors.item_factors,
            parameters.regularization,
            parameters.alpha,
            mean_user,
            settings.serving.prior_weight,
            parameters.weight_power,
        )
        repeats = not data.types.seen_codes[np.unique(data.codes)].any()
        choice = choose_content(catalogue, weights, factors.item_factors, fold_in, repeats, seed)
        if note is not None:
            note(choice.note)
    if choice.content is not None and catalogue is not None:
        factors = replace(
            factors, item_factors=_with_content(factors.item_factors, choice.content, catalogue, counts, data)
        )
    last_ms = np.zeros(n_items, np.int64)
    np.maximum.at(last_ms, data.item, data.times_ms)
    sample = np.random.default_rng(seed).choice(active, min(_INDEX_SAMPLE, len(active)), replace=False)
    index = ItemIndex(factors.item_factors, seed=seed, sample_queries=factors.user_factors[sample])
    ranking, facts = None, None
    if fitted is not None and catalogue is not None:
        near = None
        if fitted.more.near:
            counts_of_pairs = count_events(data, np.arange(len(data)), settings.serving.near_cells)
            near = NearState.of(counts_of_pairs, data.read)
        speaks = data.types.confidence(data.codes, data.values, settings.training.weighting) > 0
        ranking = RankingParts(
            fitted.ranker,
            item_statistics(counts, data.item, data.times_ms, data.values, catalogue.year),
            fit_relations(weights, data.user[speaks], data.item[speaks], data.times_ms[speaks]),
            fitted.attributes,
            catalogue.attributes.user_values if fitted.attributes.users and catalogue.attributes is not None else None,
            near,
        )
        facts = RankerFacts(
            features_hash=FEATURES_HASH,
            attribute_features=fitted.attributes.features,
            parameters=fitted.parameters,
            lists=fitted.lists,
            candidates=settings.serving.candidates,
            trending=settings.training.trending_candidates,
            trending_window=settings.serving.trending_window,
            more=fitted.more,
            logged_lists=fitted.logged_lists,
            logged_fingerprint=fitted.logged_fingerprint,
        )
    contents = BundleContents(
        item_ids=data.items.ids,
        user_ids=data.users.ids,
        item_factors=factors.item_factors,
        user_factors=factors.user_factors,
        mean_user=mean_user,
        item_counts=counts,
        item_last_ms=last_ms,
        ranking=ranking,
        bias=_bias(data),
        centroids=None if index.tuned is None else index.tuned.centroids,
        content=choice.content,
    )
    fields = ManifestFields(
        parameters=parameters,
        weighting=settings.training.weighting,
        event_preset=settings.data.events,
        seed=seed,
        user_id_type=data.user_id_type,
        item_id_type=data.item_id_type,
        data=DataFacts(
            name=data.name,
            fingerprint=data.fingerprint,
            n_interactions=len(data),
            last_ms=int(data.times_ms.max()),
            log_events=data.log_events,
        ),
        metrics=metrics | choice.metrics,
        index=IndexFacts(
            kind=index.kind, recall=index.recall, probes=None if index.tuned is None else index.tuned.probes
        ),
        ranker=facts,
        content=None if choice.content is None else ContentFacts(fields=choice.content.inputs.fields),
    )
    return write_bundle(settings.bundles_dir, contents, fields)


def _with_content(
    item_factors: np.ndarray, content: ContentMap, catalogue: ItemFacts, counts: np.ndarray, data: TrainingData
) -> np.ndarray:
    """The factors, with what is written added to those of young items, as far as times say which these are."""
    if catalogue.described is None or not data.time_trusted:
        return item_factors
    young = np.flatnonzero(young_items(counts, data.item, data.times_ms, data.turn))
    found = item_factors.copy()
    found[young] += content.factors([catalogue.described.items[place] for place in young.tolist()])
    return found


def _bias(data: TrainingData) -> BiasTerms | None:
    """The bias terms of the ratings; None where there are none, or the events know no such type."""
    if "rating" not in data.types.by_name:
        return None
    rated = (data.codes == data.types["rating"].code) & ~np.isnan(data.values)
    if not rated.any():
        return None
    return fit_bias(data.user[rated], data.item[rated], data.values[rated], len(data.users), len(data.items))


def remove_old_bundles(bundles_dir: Path, keep: int, protected: set[str]) -> list[str]:
    """Delete all but the newest `keep` bundles; `protected` versions stay whatever their age. Returns the deleted."""
    old = [path for path in list_bundles(bundles_dir)[:-keep] if path.name not in protected]
    for path in old:
        # Renamed first: a half-deleted bundle must not be found under its name.
        doomed = path.rename(path.with_name(f".partial-{path.name}"))
        shutil.rmtree(doomed)
    return [path.name for path in old]
