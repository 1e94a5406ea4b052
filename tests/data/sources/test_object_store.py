"""Tables in an object store, against moto's server of the S3 protocol, which is part of the environment."""

import gzip
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from configs import event_types
from data.dataset import DataError
from data.imports.event_batches import EventSource
from data.mapping.plan import Sources, make_plan
from data.sources.addresses import digest_of, find_files, passed_over
from data.sources.open_table import open_table

HEADER = b"user_id,item_id,event_type,timestamp\n"


def rows(first: int, n: int) -> bytes:
    return b"".join(b"u%d,i%d,purchase,%d\n" % (k % 7, k % 5, 1_700_000_000 + k) for k in range(first, first + n))


@pytest.fixture(scope="module")
def bucket() -> Iterator[pafs.FileSystem]:
    """The bucket `shop` of an empty server, which all that reads `s3://` finds by the environment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (
        pytest.MonkeyPatch.context() as patch,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server,
    ):
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "a key",
            "AWS_SECRET_ACCESS_KEY": "a secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(name, value)
        try:
            deadline = time.monotonic() + 60
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            found = pafs.S3FileSystem(
                endpoint_override=f"http://127.0.0.1:{port}", allow_bucket_creation=True, allow_delayed_open=True
            )
            found.create_dir("shop")
            yield found
        finally:
            server.terminate()


def put(bucket: pafs.FileSystem, path: str, content: bytes) -> None:
    with bucket.open_output_stream(path, compression=None) as file:
        file.write(content)


def test_files_and_folders_of_a_bucket_are_read_as_local_ones(bucket: pafs.FileSystem) -> None:
    put(bucket, "shop/orders/1.csv", HEADER + rows(0, 100_000))
    put(bucket, "shop/orders/2.csv", HEADER + rows(100_000, 50))
    put(bucket, "shop/orders/README.md", b"how they came to be")
    put(bucket, "shop/packed.csv.gz", gzip.compress(HEADER + rows(0, 1000)))
    pq.write_table(pa.table({"user_id": ["a", "b"]}), "shop/few.parquet", filesystem=bucket)
    assert [file.name for file in find_files("s3://shop/orders")] == ["1.csv", "2.csv"]
    assert passed_over("s3://shop/orders") == ["README.md"]
    for address, expected in (("orders", 100_050), ("packed.csv.gz", 1000), ("few.parquet", 2)):
        table = open_table(f"s3://shop/{address}")
        assert sum(batch.table.num_rows for batch in table.batches) == expected, address
    assert make_plan(Sources("s3://shop/orders")).chosen.interactions.item_id == "item_id"
    before = digest_of("s3://shop/orders")
    put(bucket, "shop/orders/2.csv", HEADER + rows(100_000, 51))
    assert digest_of("s3://shop/orders") != before
    source = EventSource("s3://shop/orders", event_types.load_event_types("shops"), "shops")
    assert sum(batch.count for batch in source.batches()) == 100_051


def test_what_is_not_there_is_named(bucket: pafs.FileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("s3://shop/nothing.csv", "s3://other/orders.csv"):
        with pytest.raises(DataError, match=f"{address}: there is no such file or folder"):
            find_files(address)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(DataError, match="s3://shop/orders: it cannot be reached"):
        find_files("s3://shop/orders")
