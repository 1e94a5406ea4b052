"""Reads a bundle: manifest -> sha256 of each file -> arrays -> their shapes, sizes and content hash -> `Bundle`."""

import hashlib
import json
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from configs.versions.formats import BUNDLE, FormatError
from models.bundle.arrays import (
    ATTRIBUTES,
    BIAS,
    CONTENT,
    INDEX,
    ITEMS,
    MANIFEST,
    MANIFEST_SUM,
    RANKER,
    RANKING,
    SEQUENCE,
    USERS,
    BundleContents,
    BundleError,
    check_contents,
    content_hash,
    file_sha256,
    unpack_ids,
)
from models.bundle.manifest import Manifest, RankerFacts
from models.content.content_map import ContentInputs, ContentMap
from models.monitoring.bias import BiasTerms
from models.ranking.attributes import NO_ATTRIBUTES, UsedAttributes
from models.ranking.ranker import Ranker, RankerError
from models.ranking.ranking_parts import RankingParts, ranking_parts
from models.sequence.weights import SequenceNetwork

_UNREADABLE = (
    *(OSError, ValueError, EOFError, MemoryError, NotImplementedError, RuntimeError, TypeError),
    *(struct.error, zipfile.BadZipFile, zlib.error),
)
"""What numpy and zipfile raise for files that are no arrays, or that claim to hold more than there is memory."""


@dataclass(frozen=True, kw_only=True)
class Bundle(BundleContents):
    """A verified bundle: the arrays, what they are, and where they lie."""

    manifest: Manifest
    path: Path


def load_bundle(path: Path) -> Bundle:
    """Read and verify a bundle.

    Raises:
        BundleError: a file is missing, damaged, unexpected or does not fit the others; the message names it.
    """
    manifest = read_manifest(path)
    expected = {MANIFEST, MANIFEST_SUM, *manifest.files}
    present = {entry.name for entry in path.iterdir()}
    if {ITEMS, USERS} - set(manifest.files):
        raise BundleError(f"{path / MANIFEST}: it must list {ITEMS} and {USERS}")
    if missing := sorted(expected - present):
        raise BundleError(f"{path / missing[0]}: the file is missing")
    if extra := sorted(present - expected):
        raise BundleError(f"{path / extra[0]}: the manifest does not list this file")
    for name, digest in manifest.files.items():
        if file_sha256(path / name) != digest:
            raise BundleError(f"{path / name}: the file is damaged (its sha256 is not the manifest's)")
    items, users = _arrays(path / ITEMS), _arrays(path / USERS)
    ranking = _load_ranking(path, manifest)
    bias = _arrays(path / BIAS) if BIAS in manifest.files else None
    index = _arrays(path / INDEX) if INDEX in manifest.files else None
    content = _arrays(path / CONTENT) if CONTENT in manifest.files else None
    if (content is None) != (manifest.content is None):
        raise BundleError(f"{path / MANIFEST}: content needs its facts in the manifest and {CONTENT}")
    network = _arrays(path / SEQUENCE) if SEQUENCE in manifest.files else None
    if (network is None) != (manifest.sequence is None):
        raise BundleError(f"{path / MANIFEST}: a sequence model needs its facts in the manifest and {SEQUENCE}")
    if (manifest.parameters is None) != (manifest.sequence is not None):
        raise BundleError(f"{path / MANIFEST}: it needs the parameters of the factors, or of a sequence model")
    heads = 0 if manifest.sequence is None else manifest.sequence.parameters.heads
    try:
        contents = BundleContents(
            item_ids=unpack_ids(items["ids"]),
            user_ids=unpack_ids(users["ids"]),
            item_factors=items["factors"],
            user_factors=users["factors"],
            mean_user=users["mean"],
            item_counts=items["counts"],
            item_last_ms=items["last_ms"],
            ranking=ranking,
            bias=None if bias is None else BiasTerms(float(bias["mean"][0]), bias["items"], bias["users"]),
            centroids=None if index is None else index["centroids"],
            content=None if content is None else _content_map(content, manifest),
            sequence=None if network is None else SequenceNetwork(network, heads),
        )
        check_contents(contents, str(path))
    except KeyError as error:
        raise BundleError(f"{path}: array {error} is missing") from error
    except BundleError:
        raise
    except (AttributeError, IndexError, TypeError, ValueError) as error:  # an array of another kind than it should be
        raise BundleError(f"{path}: the arrays do not fit: {error}") from error
    if (manifest.index.probes is None) != (contents.centroids is None):
        raise BundleError(f"{path / MANIFEST}: an index needs its probes in the manifest and {INDEX}")
    sizes = (len(contents.user_ids), *contents.item_factors.shape)
    if sizes != (manifest.n_users, manifest.n_items, manifest.n_factors):
        raise BundleError(f"{path / MANIFEST}: it tells of other sizes than the arrays have")
    if content_hash(contents, manifest) != manifest.content_hash:
        raise BundleError(f"{path / MANIFEST}: content_hash is not that of the arrays and parameters")
    return Bundle(**vars(contents), manifest=manifest, path=path)


def read_manifest(path: Path) -> Manifest:
    """The manifest of the bundle directory `path`, verified by itself; the arrays are not looked at.

    Raises:
        BundleError: it is missing, damaged or of another format, or the directory bears another version's name.
    """
    try:
        text = (path / MANIFEST).read_bytes()
        listed = (path / MANIFEST_SUM).read_text(errors="replace").split()
    except OSError as error:
        raise BundleError(f"{error.filename}: {error.strerror}") from error
    if listed != [hashlib.sha256(text).hexdigest(), MANIFEST]:
        raise BundleError(f"{path / MANIFEST}: the file is damaged (its sha256 is not that in {MANIFEST_SUM})")
    _check_format(path / MANIFEST, text)
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{path / MANIFEST}: {where}: {first['msg']}") from error
    if manifest.version != path.name:
        raise BundleError(f"{path / MANIFEST}: it is of version {manifest.version}, the directory of {path.name}")
    return manifest


def _check_format(path: Path, text: bytes) -> None:
    """Raise `BundleError` where a later version has written the manifest, whatever else stands in it."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: it is no JSON: {error}") from error
    if isinstance(found, dict):
        try:
            BUNDLE.check(found.get("format", BUNDLE.oldest), path, found.get("written_by"))
        except FormatError as error:
            raise BundleError(str(error)) from None


def read_ranker(path: Path) -> Ranker | None:
    """The verified ranker of the bundle directory `path`, without its other arrays; None where it has none.

    Raises:
        BundleError: it is missing or damaged, or its features are not those of this version.
    """
    manifest = read_manifest(path)
    if manifest.ranker is None:
        return None
    try:
        text = (path / RANKER).read_bytes()
    except OSError as error:
        raise BundleError(f"{error.filename}: {error.strerror}") from error
    if hashlib.sha256(text).hexdigest() != manifest.files.get(RANKER):
        raise BundleError(f"{path / RANKER}: the file is damaged (its sha256 is not the manifest's)")
    return _parse_ranker(path, manifest.ranker, text)


def list_bundles(bundles_dir: Path) -> list[Path]:
    """Directories of finished bundles, oldest first."""
    if not bundles_dir.is_dir():
        return []
    found = [path for path in bundles_dir.iterdir() if path.is_dir() and not path.name.startswith(".")]
    # Two versions of one second differ by their hash alone, which says nothing about their age.
    return sorted(found, key=lambda path: (path.name[:15], path.stat().st_mtime_ns, path.name))


def _load_ranking(path: Path, manifest: Manifest) -> RankingParts | None:
    """The ranker's files, or None for a bundle without one.

    Raises:
        BundleError: one file without the other, or a ranker whose features this version does not compute.
    """
    listed = {RANKER, RANKING} & set(manifest.files)
    if not listed and manifest.ranker is None:
        return None
    if len(listed) != 2 or manifest.ranker is None:
        raise BundleError(f"{path / MANIFEST}: a ranker needs {RANKER}, {RANKING} and its facts in the manifest")
    ranker = _parse_ranker(path, manifest.ranker, (path / RANKER).read_bytes())
    arrays = _arrays(path / RANKING)
    attributes = NO_ATTRIBUTES
    if ATTRIBUTES in manifest.files:
        try:
            attributes = UsedAttributes.model_validate_json((path / ATTRIBUTES).read_bytes())
        except ValidationError as error:
            raise BundleError(f"{path / ATTRIBUTES}: {error.errors()[0]['msg']}") from error
    if attributes.features != manifest.ranker.attribute_features:
        raise BundleError(f"{path / MANIFEST}: its attribute_features are not those of {ATTRIBUTES}")
    try:
        return ranking_parts(ranker, arrays, attributes)
    except KeyError as error:
        raise BundleError(f"{path / RANKING}: array {error} is missing") from error
    except (TypeError, ValueError) as error:
        raise BundleError(f"{path / RANKING}: the arrays do not fit: {error}") from error


def _content_map(arrays: dict[str, np.ndarray], manifest: Manifest) -> ContentMap:
    assert manifest.content is not None
    if arrays["word_scale"].shape != (1,) or arrays["word_scale"].dtype != np.float32:
        raise ValueError("word_scale must be one number")
    inputs = ContentInputs(
        fields=manifest.content.fields,
        keywords=_texts(arrays["keywords"]),
        words=_texts(arrays["words"]),
        word_weights=arrays["word_weights"],
        word_scale=float(arrays["word_scale"][0]),
        means=arrays["means"],
        deviations=arrays["deviations"],
    )
    return ContentMap(inputs, arrays["weights"])


def _texts(packed: np.ndarray) -> np.ndarray:
    """As `unpack_ids`; none where nothing is packed."""
    texts = unpack_ids(packed)
    return texts[:0] if texts.tolist() == [""] else texts


def _parse_ranker(path: Path, facts: RankerFacts, text: bytes) -> Ranker:
    try:
        return Ranker(text.decode(), facts.attribute_features, facts.features_hash)
    except (RankerError, UnicodeDecodeError) as error:
        raise BundleError(f"{path / RANKER}: {error}") from error


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            found = dict(stored)
        if not all(isinstance(array, np.ndarray) for array in found.values()):
            raise ValueError("it holds something else than arrays")
        return found
    except _UNREADABLE as error:
        raise BundleError(f"{path}: it cannot be read: {str(error) or type(error).__name__}") from error
