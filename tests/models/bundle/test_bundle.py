import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from models.bundle.arrays import BundleContents, BundleError, content_hash
from models.bundle.reading import Bundle, list_bundles, load_bundle
from models.bundle.writing import write_bundle
from models.monitoring.bias import BiasTerms
from tests.models.bundle.small_bundle import NOW_MS, PARAMETERS, assert_same, contents, fields


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundles", contents(), fields(), NOW_MS)


def test_what_was_written_is_read(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    assert isinstance(loaded, Bundle)
    assert_same(loaded, contents())
    assert loaded.manifest.version == bundle.name
    assert bundle.name.startswith("20260101-000000-")
    assert loaded.manifest.metrics == {"ndcg_at_10": 0.5}
    assert list_bundles(bundle.parent) == [bundle]


def test_the_same_data_and_seed_give_the_same_hash_whatever_the_threads_and_the_time(tmp_path: Path) -> None:
    one = load_bundle(write_bundle(tmp_path, contents(threads=1), fields(), NOW_MS)).manifest
    two = load_bundle(write_bundle(tmp_path, contents(threads=2), fields(metrics={}), NOW_MS + 5000)).manifest
    assert one.content_hash == two.content_hash
    assert one.version != two.version
    assert one.files == two.files


def test_another_seed_or_parameter_gives_another_hash() -> None:
    base = content_hash(contents(), fields())
    assert content_hash(contents(seed=1), fields()) != base
    assert content_hash(contents(), fields(weighting="consumption")) != base
    assert content_hash(contents(), fields(parameters=PARAMETERS.model_copy(update={"alpha": 3.5}))) != base


def test_writing_the_same_again_in_the_same_second_keeps_the_first(bundle: Path) -> None:
    assert write_bundle(bundle.parent, contents(), fields(), NOW_MS) == bundle
    assert list_bundles(bundle.parent) == [bundle]


@pytest.mark.parametrize("name", ["items.npz", "users.npz", "manifest.json", "manifest.sha256"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove"])
def test_a_damaged_file_is_refused_by_name(bundle: Path, name: str, damage: str) -> None:
    file = bundle / name
    raw = file.read_bytes()
    if damage == "flip":
        middle = len(raw) // 2
        file.write_bytes(raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :])
    elif damage == "remove":
        file.unlink()
    else:
        file.write_bytes(raw[: len(raw) // 2 if damage == "truncate" else 0])
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        load_bundle(bundle)


def test_an_extra_file_is_refused_by_name(bundle: Path) -> None:
    (bundle / "model.pickle").write_bytes(b"")
    with pytest.raises(BundleError, match=r"model\.pickle"):
        load_bundle(bundle)


def test_a_renamed_bundle_is_refused(bundle: Path) -> None:
    moved = bundle.rename(bundle.parent / "20260101-000000-00000000")
    with pytest.raises(BundleError, match="directory"):
        load_bundle(moved)


def test_a_missing_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="manifest"):
        load_bundle(tmp_path / "20260101-000000-00000000")


def test_pickled_arrays_are_never_loaded(bundle: Path) -> None:
    """A bundle whose sums are right, but whose arrays hold objects: reading it would run what it holds."""

    file = bundle / "items.npz"
    arrays = dict(np.load(file))
    np.savez(file, **{**arrays, "ids": np.array([{"any": "object"}], dtype=object)})
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["items.npz"] = hashlib.sha256(file.read_bytes()).hexdigest()
    text = json.dumps(manifest)
    (bundle / "manifest.json").write_text(text)
    (bundle / "manifest.sha256").write_text(f"{hashlib.sha256(text.encode()).hexdigest()}  manifest.json\n")
    with pytest.raises(BundleError, match=r"items\.npz.*allow_pickle"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("item_factors", np.full((20, 4), np.nan, np.float32), "item_factors.*finite"),
        ("item_factors", np.zeros((19, 4), np.float32), "item_factors"),
        ("user_factors", np.zeros((30, 4)), "user_factors is float64"),
        ("mean_user", np.zeros(3, np.float32), "mean_user"),
        ("item_counts", np.zeros(20, np.int32), "item_counts"),
        ("item_ids", np.array(["a"] * 20, dtype=object), "item_ids must be distinct"),
        ("user_ids", np.array([*map(str, range(29)), "a\nb"], dtype=object), "line break"),
    ],
)
def test_contents_that_do_not_fit_are_refused(tmp_path: Path, name: str, value: np.ndarray, message: str) -> None:
    broken = BundleContents(**{**vars(contents()), name: value})
    with pytest.raises(BundleError, match=message):
        write_bundle(tmp_path, broken, fields())
    assert list_bundles(tmp_path) == []


def test_bias_terms_travel_with_the_bundle_and_belong_to_its_content(tmp_path: Path) -> None:
    plain = contents()
    terms = BiasTerms(3.5, np.linspace(-1, 1, 20, dtype=np.float32), np.linspace(0, 1, 30, dtype=np.float32))
    biased = replace(plain, bias=terms)
    found = load_bundle(write_bundle(tmp_path, biased, fields())).bias
    assert found is not None
    assert found.mean == 3.5
    assert (found.items == terms.items).all()
    assert (found.users == terms.users).all()
    assert content_hash(plain, fields()) != content_hash(biased, fields())
    assert load_bundle(write_bundle(tmp_path, plain, fields())).bias is None
    with pytest.raises(BundleError, match=r"bias\.users"):
        write_bundle(tmp_path, replace(plain, bias=BiasTerms(3.5, terms.items, terms.items)), fields())


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    undefined = fields().model_copy(update={"metrics": {"ndcg_at_10": float("nan")}})
    with pytest.raises(ValidationError, match="ndcg_at_10"):
        write_bundle(tmp_path, contents(), undefined)
    assert list(tmp_path.iterdir()) == []
