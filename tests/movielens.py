"""MovieLens 100K, for tests that ask for the real thing."""

import os

import pytest

from configs.settings import load_settings
from data.builtin.download import DownloadError
from data.dataset import Dataset, load_dataset, processed_dir
from data.prepare import fetch, prepare


@pytest.fixture(scope="session")
def movielens(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """MovieLens 100K, through the code that `make up` uses, with the archive kept beside the user's own."""
    settings = load_settings()
    try:
        source, _ = fetch(settings.data_dir / "raw")
    except DownloadError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"the data set must be there in CI: {error}")
        pytest.skip(f"the data set cannot be had here: {error}")
    folder = tmp_path_factory.mktemp("movielens")
    own = load_settings(data_dir=folder, data={"source": source})
    prepare(own)
    return load_dataset(processed_dir(own))
