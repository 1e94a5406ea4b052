"""Writes a bundle: arrays and what the training knows -> a partial directory -> one rename to the version's name."""

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from configs import clock
from configs.versions.program import program_version
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
    bias_arrays,
    check_contents,
    content_hash,
    file_sha256,
    pack_ids,
    packed_content,
)
from models.bundle.manifest import Manifest, ManifestFields
from models.bundle.reading import load_bundle
from models.ranking.ranking_parts import ranking_arrays

_PARTIAL = ".partial-"
_PARTIAL_AGE_S = 24 * 3600


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
    check_contents(contents, "contents")
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
            ids=pack_ids(contents.item_ids),
            factors=contents.item_factors,
            counts=contents.item_counts,
            last_ms=contents.item_last_ms,
        )
        np.savez(
            partial / USERS, ids=pack_ids(contents.user_ids), factors=contents.user_factors, mean=contents.mean_user
        )
        names = [ITEMS, USERS]
        if contents.ranking is not None:
            names += [RANKER, RANKING]
            (partial / RANKER).write_text(contents.ranking.ranker.text)
            np.savez(partial / RANKING, **ranking_arrays(contents.ranking))  # type: ignore[arg-type]
            if contents.ranking.attributes:
                names.append(ATTRIBUTES)
                (partial / ATTRIBUTES).write_text(contents.ranking.attributes.model_dump_json(indent=2) + "\n")
        if contents.bias is not None:
            names.append(BIAS)
            np.savez(partial / BIAS, **bias_arrays(contents.bias))  # type: ignore[arg-type]
        if contents.centroids is not None:
            names.append(INDEX)
            np.savez(partial / INDEX, centroids=contents.centroids)
        if contents.content is not None:
            names.append(CONTENT)
            np.savez(partial / CONTENT, **packed_content(contents.content))  # type: ignore[arg-type]
        if contents.sequence is not None:
            names.append(SEQUENCE)
            np.savez(partial / SEQUENCE, **contents.sequence.weights)  # type: ignore[arg-type]
        manifest = Manifest(
            **fields.model_dump(),
            written_by=program_version(),
            version=version,
            created_ms=created_ms,
            content_hash=digest,
            n_users=len(contents.user_ids),
            n_items=len(contents.item_ids),
            n_factors=contents.item_factors.shape[1],
            files={name: file_sha256(partial / name) for name in names},
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
