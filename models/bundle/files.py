"""A model on disk: one immutable directory per version, verified before use.

    <bundles>/20260131-120000-1f2e3d4c/
        manifest.json     see `models.bundle.manifest`
        manifest.sha256   of manifest.json, in the form of sha256sum
        items.npz         ids, factors, counts, last_ms
        users.npz         ids, factors, mean
        ranker.txt        LightGBM's text form       } both or neither
        ranking.npz       what its features need     }
        bias.npz          mean, items, users of `models.monitoring.bias`; missing where there were no ratings

Arrays are stored without pickle, so that reading a bundle can run no code. Ids are stored as one newline-joined text:
a fixed-width array would cost the longest id's length for every id.
"""

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from configs import clock
from models.bundle.manifest import Manifest, ManifestFields
from models.monitoring.bias import BiasTerms
from models.ranking.ranker import Ranker, RankerError, check_features
from models.ranking.ranking_parts import RankingParts, check_ranking, ranking_arrays, ranking_parts

MANIFEST = "manifest.json"
MANIFEST_SUM = "manifest.sha256"
ITEMS = "items.npz"
USERS = "users.npz"
RANKER = "ranker.txt"
RANKING = "ranking.npz"
BIAS = "bias.npz"
_PARTIAL = ".partial-"
_PARTIAL_AGE_S = 24 * 3600


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
        bias: of ratings; None where there were none.
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


@dataclass(frozen=True, kw_only=True)
class Bundle(BundleContents):
    """A verified bundle: the arrays, what they are, and where they lie."""

    manifest: Manifest
    path: Path


def write_bundle(
    bundles_dir: Path, contents: BundleContents, fields: ManifestFields, now_ms: int | None = None
) -> Path:
    """Write a new version. It appears under its name complete or not at all.

    Args:
        bundles_dir: made if missing.
        contents: checked for shapes and finiteness first.
        fields: what the training knows.
        now_ms: time of creation; the clock's, if left out.

    Returns:
        The directory; its name is the version.

    Raises:
        BundleError: the contents do not fit together.
    """
    _check(contents, "contents")
    created_ms = clock.now_ms() if now_ms is None else now_ms
    digest = content_hash(contents, fields)
    stamp = datetime.fromtimestamp(created_ms / 1000, UTC).strftime("%Y%m%d-%H%M%S")
    version = f"{stamp}-{digest[:8]}"
    bundles_dir.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(bundles_dir)
    target = bundles_dir / version
    if target.exists():
        # The same content in the same second: it is this bundle already, or it is damaged and says so.
        return load_bundle(target).path
    partial = bundles_dir / f"{_PARTIAL}{uuid.uuid4().hex}"
    partial.mkdir()
    try:
        np.savez(
            partial / ITEMS,
            ids=_pack(contents.item_ids),
            factors=contents.item_factors,
            counts=contents.item_counts,
            last_ms=contents.item_last_ms,
        )
        np.savez(partial / USERS, ids=_pack(contents.user_ids), factors=contents.user_factors, mean=contents.mean_user)
        names = [ITEMS, USERS]
        if contents.ranking is not None:
            names += [RANKER, RANKING]
            (partial / RANKER).write_text(contents.ranking.ranker.text)
            np.savez(partial / RANKING, **ranking_arrays(contents.ranking))  # type: ignore[arg-type]
        if contents.bias is not None:
            names.append(BIAS)
            np.savez(partial / BIAS, **_bias_arrays(contents.bias))  # type: ignore[arg-type]
        manifest = Manifest(
            **fields.model_dump(),
            version=version,
            created_ms=created_ms,
            content_hash=digest,
            n_users=len(contents.user_ids),
            n_items=len(contents.item_ids),
            n_factors=contents.item_factors.shape[1],
            files={name: _sha256(partial / name) for name in names},
        )
        text = json.dumps(manifest.model_dump(), indent=2, sort_keys=True) + "\n"
        (partial / MANIFEST).write_text(text)
        (partial / MANIFEST_SUM).write_text(f"{hashlib.sha256(text.encode()).hexdigest()}  {MANIFEST}\n")
        for file in partial.iterdir():
            _fsync(file)
        _fsync(partial)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _fsync(bundles_dir)
    return target


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
        if _sha256(path / name) != digest:
            raise BundleError(f"{path / name}: the file is damaged (its sha256 is not the manifest's)")
    items, users = _arrays(path / ITEMS), _arrays(path / USERS)
    ranking = _load_ranking(path, manifest)
    bias = _arrays(path / BIAS) if BIAS in manifest.files else None
    try:
        contents = BundleContents(
            item_ids=_unpack(items["ids"]),
            user_ids=_unpack(users["ids"]),
            item_factors=items["factors"],
            user_factors=users["factors"],
            mean_user=users["mean"],
            item_counts=items["counts"],
            item_last_ms=items["last_ms"],
            ranking=ranking,
            bias=None if bias is None else BiasTerms(float(bias["mean"][0]), bias["items"], bias["users"]),
        )
    except KeyError as error:
        raise BundleError(f"{path}: array {error} is missing") from error
    _check(contents, str(path))
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
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{path / MANIFEST}: {where}: {first['msg']}") from error
    if manifest.version != path.name:
        raise BundleError(f"{path / MANIFEST}: it is of version {manifest.version}, the directory of {path.name}")
    return manifest


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
    return _parse_ranker(path, manifest.ranker.features_hash, text)


def list_bundles(bundles_dir: Path) -> list[Path]:
    """Directories of finished bundles, oldest first."""
    if not bundles_dir.is_dir():
        return []
    found = [path for path in bundles_dir.iterdir() if path.is_dir() and not path.name.startswith(".")]
    # Two versions of one second differ by their hash alone, which says nothing about their age.
    return sorted(found, key=lambda path: (path.name[:15], path.stat().st_mtime_ns, path.name))


def content_hash(contents: BundleContents, fields: ManifestFields) -> str:
    """sha256 over the arrays and what defines the training; not over times, metrics or file names."""
    digest = hashlib.sha256()
    defining = {"parameters", "weighting", "event_preset", "seed", "user_id_type", "item_id_type"}
    digest.update(json.dumps(fields.model_dump(include=defining), sort_keys=True).encode())
    arrays = {name: array for name, array in vars(contents).items() if name not in ("ranking", "bias")}
    if contents.ranking is not None:
        arrays |= ranking_arrays(contents.ranking)
        arrays["ranker"] = np.frombuffer(contents.ranking.ranker.text.encode(), np.uint8)
    if contents.bias is not None:
        arrays |= {f"bias_{name}": array for name, array in _bias_arrays(contents.bias).items()}
    for name, array in arrays.items():
        packed = _pack(array) if name in ("item_ids", "user_ids") else np.ascontiguousarray(array)
        digest.update(f"\n{name} {packed.dtype.str} {packed.shape}\n".encode())
        digest.update(packed.data)
    return digest.hexdigest()


def _bias_arrays(bias: BiasTerms) -> dict[str, np.ndarray]:
    return {"mean": np.array([bias.mean]), "items": bias.items, "users": bias.users}


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
    ranker = _parse_ranker(path, manifest.ranker.features_hash, (path / RANKER).read_bytes())
    arrays = _arrays(path / RANKING)
    try:
        return ranking_parts(ranker, arrays)
    except KeyError as error:
        raise BundleError(f"{path / RANKING}: array {error} is missing") from error


def _parse_ranker(path: Path, features_hash: str, text: bytes) -> Ranker:
    try:
        check_features(features_hash)
        return Ranker(text.decode())
    except (RankerError, UnicodeDecodeError) as error:
        raise BundleError(f"{path / RANKER}: {error}") from error


def _pack(ids: np.ndarray) -> np.ndarray:
    return np.frombuffer("\n".join(ids.tolist()).encode(), np.uint8)


def _unpack(packed: np.ndarray) -> np.ndarray:
    return np.array(packed.tobytes().decode().split("\n"), dtype=object)


def _check(contents: BundleContents, where: str) -> None:
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
            check_ranking(contents.ranking, n_items)
        except ValueError as error:
            raise BundleError(f"{where}: {error}") from error
    for name, ids in (("item_ids", contents.item_ids), ("user_ids", contents.user_ids)):
        texts = ids.tolist()
        if not texts or len(set(texts)) != len(texts):
            raise BundleError(f"{where}: {name} must be distinct, and at least one")
        if any(not text or "\n" in text for text in texts):
            raise BundleError(f"{where}: {name} must be texts without a line break")


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: it cannot be read: {error}") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_abandoned(bundles_dir: Path) -> None:
    """Clear what a killed run left half written, long enough ago that nobody is still writing it."""
    for partial in _old_partials(bundles_dir):
        shutil.rmtree(partial, ignore_errors=True)


def _old_partials(bundles_dir: Path) -> Iterator[Path]:
    limit = time.time() - _PARTIAL_AGE_S
    for path in bundles_dir.glob(f"{_PARTIAL}*"):
        try:
            if path.stat().st_mtime < limit:
                yield path
        except FileNotFoundError:
            continue  # another run cleared it first
