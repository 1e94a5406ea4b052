"""What a bundle holds, and how its arrays are packed, hashed and checked: the same for writing and for reading.

Arrays are stored without pickle, so that reading a bundle can run no code. Ids are stored as one newline-joined text:
a fixed-width array would cost the longest id's length for every id.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.bundle.manifest import ManifestFields
from models.content.content_map import ContentMap, check_content, content_arrays
from models.monitoring.bias import BiasTerms
from models.ranking.ranking_parts import RankingParts, check_ranking, ranking_arrays
from models.sequence.weights import SequenceNetwork, check_weights

MANIFEST = "manifest.json"
MANIFEST_SUM = "manifest.sha256"
ITEMS = "items.npz"
USERS = "users.npz"
RANKER = "ranker.txt"
RANKING = "ranking.npz"
ATTRIBUTES = "attributes.json"
BIAS = "bias.npz"
INDEX = "index.npz"
CONTENT = "content.npz"
SEQUENCE = "sequence.npz"


class BundleError(ValueError):
    """A bundle cannot be used; the message names the file."""


@dataclass(frozen=True)
class BundleContents:
    """The arrays of a model.

    Attributes:
        item_ids: (n_items,) str objects, distinct.
        user_ids: (n_users,) str objects, distinct.
        item_factors: (n_items, f) float32.
        user_factors: (n_users, f) float32.
        mean_user: (f,) float32, mean of the trained user vectors.
        item_counts: (n_items,) int64, users with a positive weight for the item.
        item_last_ms: (n_items,) int64, time of the item's latest event.
        ranking: the learned ranker; None where there is none, and lists are served in the order of retrieval.
        bias: the bias terms of the ratings; None where there were no ratings.
        content: what gives new items their vectors; None where they stand by their categories alone.
        sequence: the network that turns a user's events into a vector; None where vectors are folded in.
        centroids: (lists, f + 1) float32 of an approximate index (`models.retrieval.index`); None for an exact one.
    """

    item_ids: np.ndarray
    user_ids: np.ndarray
    item_factors: np.ndarray
    user_factors: np.ndarray
    mean_user: np.ndarray
    item_counts: np.ndarray
    item_last_ms: np.ndarray
    ranking: RankingParts | None = None
    bias: BiasTerms | None = None
    centroids: np.ndarray | None = None
    content: ContentMap | None = None
    sequence: SequenceNetwork | None = None


def content_hash(contents: BundleContents, fields: ManifestFields) -> str:
    """sha256 over the arrays and what defines the training; not over times, metrics or file names."""
    digest = hashlib.sha256()
    defining = {"parameters", "weighting", "event_preset", "seed", "user_id_type", "item_id_type"}
    digest.update(json.dumps(fields.model_dump(include=defining), sort_keys=True).encode())
    # The centroids follow from the factors, but for the rounding of however many threads clustered them.
    left_away = ("ranking", "bias", "centroids", "content", "sequence")
    arrays = {name: array for name, array in vars(contents).items() if name not in left_away}
    if contents.ranking is not None:
        arrays |= ranking_arrays(contents.ranking)
        arrays["ranker"] = np.frombuffer(contents.ranking.ranker.text.encode(), np.uint8)
        if contents.ranking.attributes:
            arrays["attributes"] = np.frombuffer(contents.ranking.attributes.model_dump_json().encode(), np.uint8)
    if contents.bias is not None:
        arrays |= {f"bias_{name}": array for name, array in bias_arrays(contents.bias).items()}
    if contents.content is not None:
        fields_read = [field.model_dump() for field in contents.content.inputs.fields]
        arrays["content_fields"] = np.frombuffer(json.dumps(fields_read, sort_keys=True).encode(), np.uint8)
        arrays |= {f"content_{name}": array for name, array in packed_content(contents.content).items()}
    if contents.sequence is not None:
        arrays["sequence_heads"] = np.array([contents.sequence.heads])
        arrays |= {f"sequence_{name}": array for name, array in sorted(contents.sequence.weights.items())}
    for name, array in arrays.items():
        packed = pack_ids(array) if name in ("item_ids", "user_ids") else np.ascontiguousarray(array)
        digest.update(f"\n{name} {packed.dtype.str} {packed.shape}\n".encode())
        digest.update(packed.data)
    return digest.hexdigest()


def check_contents(contents: BundleContents, where: str) -> None:
    """Check that the arrays fit together and hold finite numbers, and that ids are distinct.

    Raises:
        BundleError: they do not; the message begins with `where`.
    """
    n_items, n_users = len(contents.item_ids), len(contents.user_ids)
    n_factors = contents.item_factors.shape[-1]
    expected: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
        "item_factors": ((n_items, n_factors), np.float32),
        "user_factors": ((n_users, n_factors), np.float32),
        "mean_user": ((n_factors,), np.float32),
        "item_counts": ((n_items,), np.int64),
        "item_last_ms": ((n_items,), np.int64),
    }
    arrays: dict[str, np.ndarray] = {name: getattr(contents, name) for name in expected}
    if contents.bias is not None:
        expected |= {"bias.items": ((n_items,), np.float32), "bias.users": ((n_users,), np.float32)}
        arrays |= {"bias.items": contents.bias.items, "bias.users": contents.bias.users}
    if contents.centroids is not None:
        expected["centroids"] = ((len(contents.centroids), n_factors + 1), np.float32)
        arrays["centroids"] = contents.centroids
    for name, (shape, dtype) in expected.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != dtype:
            raise BundleError(
                f"{where}: {name} is {array.dtype} {array.shape}, expected {np.dtype(dtype).name} {shape}"
            )
        if not np.isfinite(array).all():
            raise BundleError(f"{where}: {name} holds numbers that are not finite")
    if contents.ranking is not None:
        try:
            check_ranking(contents.ranking, n_items, n_users)
        except ValueError as error:
            raise BundleError(f"{where}: {error}") from error
    if contents.content is not None:
        try:
            check_content(contents.content, n_factors)
        except ValueError as error:
            raise BundleError(f"{where}: {error}") from error
    if contents.sequence is not None:
        try:
            check_weights(contents.sequence.weights, contents.sequence.heads, n_factors)
        except ValueError as error:
            raise BundleError(f"{where}: {error}") from error
    for name, ids in (("item_ids", contents.item_ids), ("user_ids", contents.user_ids)):
        texts = ids.tolist()
        if not texts or len(set(texts)) != len(texts):
            raise BundleError(f"{where}: {name} must be distinct, and at least one")
        if any(not text or "\n" in text for text in texts):
            raise BundleError(f"{where}: {name} must be texts without a line break")


def pack_ids(ids: np.ndarray) -> np.ndarray:
    """Ids as the bytes of one newline-joined text: (n_bytes,) uint8."""
    return np.frombuffer("\n".join(ids.tolist()).encode(), np.uint8)


def unpack_ids(packed: np.ndarray) -> np.ndarray:
    """The ids that `pack_ids` packed, as str objects. Raises ValueError."""
    if packed.ndim != 1 or packed.dtype != np.uint8:
        raise ValueError(f"ids are {packed.dtype} {packed.shape}, expected uint8 of one dimension")
    return np.array(packed.tobytes().decode().split("\n"), dtype=object)


def bias_arrays(bias: BiasTerms) -> dict[str, np.ndarray]:
    """The arrays of `bias.npz`, by name."""
    return {"mean": np.array([bias.mean]), "items": bias.items, "users": bias.users}


def packed_content(content: ContentMap) -> dict[str, np.ndarray]:
    """The arrays of `content.npz`, by name."""
    arrays = content_arrays(content)
    return arrays | {name: pack_ids(arrays[name]) for name in ("keywords", "words")}


def file_sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
