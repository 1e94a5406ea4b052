import hashlib
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from data.builtin.download import DownloadError, download, download_wheel

CONTENT = bytes(range(256)) * 2000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Files(BaseHTTPRequestHandler):
    """Serves CONTENT; /ranges honours Range, /whole does not, /broken stops after half."""

    asked: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.asked.append(self.headers.get("Range"))
        start = 0
        if self.path == "/ranges" and self.headers.get("Range"):
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(CONTENT):
                self.send_error(416)
                return
        if self.path == "/nothing":
            self.send_error(404)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = len(CONTENT) // 2 if self.path == "/broken" else len(CONTENT)
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def address() -> Iterator[str]:
    Files.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_file_arrives_whole_and_is_fetched_once(address: str, tmp_path: Path) -> None:
    target, out = tmp_path / "raw" / "file", io.StringIO()
    download(f"{address}/whole", target, "md5", MD5, out)
    assert target.read_bytes() == CONTENT
    assert "100 % of 512,000 bytes" in out.getvalue()
    download(f"{address}/whole", target, "md5", MD5, out)
    assert len(Files.asked) == 1
    assert [path.name for path in target.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("kind", ["ranges", "whole"])
def test_a_broken_download_goes_on(address: str, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "file"
    with pytest.raises(DownloadError, match="broken"):
        download(f"{address}/broken", target, "md5", MD5, io.StringIO())
    assert not target.exists()
    half = (tmp_path / "file.part").stat().st_size
    assert half == len(CONTENT) // 2
    download(f"{address}/{kind}", target, "md5", MD5, io.StringIO())
    assert target.read_bytes() == CONTENT
    assert Files.asked[1] == f"bytes={half}-"


def test_a_part_that_was_complete_is_taken(address: str, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT)
    assert download(f"{address}/ranges", tmp_path / "file", "md5", MD5, io.StringIO()).read_bytes() == CONTENT


def test_the_wrong_file_is_thrown_away(address: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="wrong md5"):
        download(f"{address}/whole", tmp_path / "file", "md5", "0" * 32, io.StringIO())
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_fetched_again(address: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT[:-1])
    assert download(f"{address}/whole", tmp_path / "file", "md5", MD5, io.StringIO()).read_bytes() == CONTENT


def test_a_missing_page_or_host_is_one_plain_error(address: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="404"):
        download(f"{address}/nothing", tmp_path / "file", "md5", MD5, io.StringIO())
    with pytest.raises(DownloadError, match="invalid"):
        download("http://no-such-host.invalid/file", tmp_path / "file", "md5", MD5, io.StringIO())


def test_a_wheel_that_is_there_is_not_fetched_again_and_a_wrong_version_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "package-1-py3-none-any.whl"
    wheel.write_bytes(CONTENT)
    assert download_wheel("package", "1", wheel, hashlib.sha256(CONTENT).hexdigest(), io.StringIO()) == wheel
    with pytest.raises(DownloadError, match=r"recbole 0\.0\.0\.0: pip"):
        download_wheel("recbole", "0.0.0.0", tmp_path / "other.whl", "0" * 64, io.StringIO())
    assert list(tmp_path.iterdir()) == [wheel]
