"""Bundles that somebody has changed, sums and all: each is refused with the file named, and nothing else happens."""

import hashlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.versions.formats import BUNDLE
from configs.versions.program import program_version
from models.bundle.arrays import BundleError
from models.bundle.reading import load_bundle
from models.bundle.writing import write_bundle
from tests.models.bundle.small_bundle import NOW_MS, with_content, with_ranker

ODD: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "scalar": lambda array: np.array(7),
    "empty": lambda array: array[:0],
    "text": lambda array: np.full(array.shape, "x"),
    "complex": lambda array: array.astype(np.complex128),
    "dates": lambda array: np.zeros(array.shape, "datetime64[ms]"),
    "longer": lambda array: np.concatenate([array, array]),
    "deeper": lambda array: array[..., None],
    "records": lambda array: np.zeros(array.shape, [("a", "i4")]),
}


def sign(bundle: Path, change: Callable[[dict[str, Any]], None] = lambda manifest: None) -> None:
    """Make the sums right again, as whoever can change files can; `change` edits the manifest before."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"] = {name: hashlib.sha256((bundle / name).read_bytes()).hexdigest() for name in manifest["files"]}
    change(manifest)
    text = json.dumps(manifest)
    (bundle / "manifest.json").write_text(text)
    (bundle / "manifest.sha256").write_text(f"{hashlib.sha256(text.encode()).hexdigest()}  manifest.json\n")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    given, facts = with_content(*with_ranker())
    path = write_bundle(tmp_path / "bundles", given, facts, NOW_MS)
    sign(path)
    load_bundle(path)
    return path


def arrays_of(file: Path) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as stored:
        return dict(stored)


def test_no_array_of_another_kind_is_served(bundle: Path) -> None:
    """Whatever stands for an array: it is refused, by a `BundleError`, which keeps the model before serving."""
    served = []
    for file in sorted(bundle.glob("*.npz")):
        whole, bytes_ = arrays_of(file), file.read_bytes()
        for name, array in whole.items():
            for kind, odd in ODD.items():
                np.savez(file, **{**whole, name: odd(array)})
                sign(bundle)
                try:
                    load_bundle(bundle)
                except BundleError:
                    pass
                else:
                    served.append((file.name, name, kind))
            np.savez(file, **{other: value for other, value in whole.items() if other != name})
            sign(bundle)
            if name not in ("ease", "follows"):  # a bundle may have no relations
                with pytest.raises(BundleError, match="missing"):
                    load_bundle(bundle)
        file.write_bytes(bytes_)
    assert served == []


def claims_much(shape: tuple[int, ...]) -> bytes:
    """An array file whose head claims a shape and that holds nothing."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return head.getvalue()


def zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("ids.npy", content)
    return packed.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"", claims_much((0,)), b"PK\x03\x04 no archive", b"PK\x05\x06" + b"\0" * 18, b"\x93NUMPY\x01\x00\xff\xff",
        b"{}",
        zipped(claims_much((2**62,))), zipped(claims_much((2**40, 2**20))), zipped(b"no array"),
        zipped(claims_much((4,)))[:-30],
    ],
)  # fmt: skip
def test_files_that_are_no_arrays_are_refused(bundle: Path, content: bytes) -> None:
    for name in ("items.npz", "ranking.npz", "content.npz"):
        kept = (bundle / name).read_bytes()
        (bundle / name).write_bytes(content)
        sign(bundle)
        with pytest.raises(BundleError, match=name.replace(".", r"\.") + "|missing"):
            load_bundle(bundle)
        (bundle / name).write_bytes(kept)


@pytest.mark.parametrize("name", ["../elsewhere.npz", "/etc/passwd", "a/../../x", "..", ""])
def test_a_manifest_that_leads_out_of_its_folder_is_refused(bundle: Path, name: str) -> None:
    (bundle.parent / "elsewhere.npz").write_bytes((bundle / "items.npz").read_bytes())

    def lead_out(manifest: dict[str, Any]) -> None:
        manifest["files"][name] = manifest["files"]["items.npz"]

    sign(bundle, lead_out)
    with pytest.raises(BundleError, match=r"missing|does not list"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("field", "value"),
    [("n_items", 10**30), ("version", "../../etc"), ("format", 0), ("created_ms", "now"), ("n_factors", -1)],
)
def test_a_manifest_that_lies_is_refused(bundle: Path, field: str, value: Any) -> None:
    sign(bundle, lambda manifest: manifest.update({field: value}))
    with pytest.raises(BundleError, match=r"manifest\.json"):
        load_bundle(bundle)


def test_a_bundle_of_a_later_version_is_refused_with_both_versions(bundle: Path) -> None:
    """Whatever else stands in its manifest: the first that is said must not be of a field that this version lacks."""
    later = {"format": BUNDLE.current + 1, "written_by": "9.9.9", "a field of later": 1, "n_items": "many"}
    sign(bundle, lambda manifest: manifest.update(later))
    with pytest.raises(BundleError) as refused:
        load_bundle(bundle)
    assert str(refused.value).startswith(
        f"{bundle / 'manifest.json'}: a model bundle of format {BUNDLE.current + 1}, written by Raycommend 9.9.9; "
        f"this is Raycommend {program_version()}, which reads formats {BUNDLE.oldest} to {BUNDLE.current}: "
    )


class Planted:
    """What a pickle runs when it is loaded: it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def planted(tmp_path: Path) -> Iterator[tuple[bytes, Path]]:
    mark = tmp_path / "it ran"
    pickle.loads(pickle.dumps(Planted(mark)))
    assert mark.is_dir()  # it would work
    mark.rmdir()
    yield pickle.dumps(Planted(mark)), mark
    assert not mark.exists()


def test_a_pickle_in_a_bundle_is_not_run(bundle: Path, planted: tuple[bytes, Path]) -> None:
    content, mark = planted
    objects = io.BytesIO()
    np.save(objects, np.array([Planted(mark)], dtype=object), allow_pickle=True)
    for name in ("items.npz", "users.npz", "ranking.npz", "content.npz"):
        kept = (bundle / name).read_bytes()
        for put in (content, objects.getvalue(), zipped(objects.getvalue()), zipped(content)):
            (bundle / name).write_bytes(put)
            sign(bundle)
            with pytest.raises(BundleError):
                load_bundle(bundle)
        (bundle / name).write_bytes(kept)
    (bundle / "ranker.txt").write_bytes(content)
    sign(bundle)
    with pytest.raises(BundleError, match=r"ranker\.txt"):
        load_bundle(bundle)
