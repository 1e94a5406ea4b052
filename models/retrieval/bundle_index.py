"""The item index of a bundle: the one that was measured when the bundle was built."""

from models.bundle.reading import Bundle
from models.retrieval.index import ItemIndex, TunedIndex


def index_of(bundle: Bundle) -> ItemIndex:
    """The index. A bundle that was written before indexes were kept has its own clustered and measured anew."""
    facts = bundle.manifest.index
    if bundle.centroids is not None and facts.probes is not None:
        return ItemIndex(bundle.item_factors, tuned=TunedIndex(bundle.centroids, facts.probes, facts.recall))
    exact = len(bundle.item_factors) if facts.kind == "flat" else 0
    return ItemIndex(bundle.item_factors, exact_limit=exact, seed=bundle.manifest.seed)
