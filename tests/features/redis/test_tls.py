"""An outside store behind TLS: the address names the authority that must have signed, and nothing else is taken."""

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from configs.settings import Store
from features.redis.connection import connect
from features.redis.errors import StoreUnavailable
from tests.features.servers import VOLATILE, Server, valkey_binary

pytestmark = pytest.mark.anyio


def certificate(folder: Path, name: str, host: str) -> tuple[Path, Path]:
    """A certificate that signs itself, valid for a day, and its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    address: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


@asynccontextmanager
async def behind_tls(port: int, files: tuple[Path, Path]) -> AsyncIterator[int]:
    """A port with TLS in front of another."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except (OSError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pipe(reader, far_writer), pipe(far_reader, writer))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_a_store_behind_tls_is_taken_with_the_right_authority_alone(tmp_path: Path) -> None:
    server = Server(valkey_binary(), tmp_path / "store", VOLATILE)
    own, other = certificate(tmp_path, "own", "127.0.0.1"), certificate(tmp_path, "other", "127.0.0.1")
    elsewhere = certificate(tmp_path, "elsewhere", "store.example")
    store = Store(timeout_s=5.0)
    try:
        async with behind_tls(server.port, own) as port, behind_tls(server.port, elsewhere) as misnamed:
            client = connect(store, f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={own[0]}")
            assert await client.run("SET", "k", "v")  # by redis-py
            assert await client.exchange([("GET", "k")]) == [b"v"]  # by our own connection
            await client.aclose()
            for address in (
                f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={other[0]}",
                f"rediss://127.0.0.1:{port}/0",
                f"rediss://127.0.0.1:{misnamed}/0?ssl_ca_certs={elsewhere[0]}",
            ):
                refused = connect(store, address)
                with pytest.raises(StoreUnavailable, match=r"(?i)certificate"):
                    await refused.run("GET", "k")
                with pytest.raises(StoreUnavailable, match=r"(?i)certificate"):
                    await refused.exchange([("GET", "k")])
                await refused.aclose()
    finally:
        server.stop()
