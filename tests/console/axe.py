"""axe-core, the accessibility rules that browsers' own tools use, fetched once by npm and checked."""

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

VERSION = "4.14.1"
SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
FETCH_S = 120


def axe_source() -> str:
    """Its script. A machine without npm or without a registry skips the test; in CI that is a failure."""
    try:
        archive = _fetch()
    except (OSError, subprocess.SubprocessError) as error:
        reason = f"axe-core cannot be had: {error}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    assert digest == SHA512, f"{archive} is not axe-core {VERSION}"
    with tarfile.open(archive) as files:
        script = files.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


def _fetch() -> Path:
    kept = Path(tempfile.gettempdir()) / f"raycommend-tests-{os.getuid()}-axe-core-{VERSION}.tgz"
    if not kept.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise FileNotFoundError("npm is not installed")
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                [npm, "pack", "--silent", f"axe-core@{VERSION}"],
                cwd=folder, check=True, capture_output=True, timeout=FETCH_S,
            )  # fmt: skip
            [packed] = Path(folder).glob("*.tgz")
            shutil.move(packed, kept)
    return kept
