"""Over TLS, with an authority of our own: Postgres as sslmode says, Temporal as its environment says."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from cluster.postgres import PostgresServer
from cluster.processes import give
from cluster.temporal import TemporalServer
from stepgraph import ScriptedModel, Session, asubmit, aworker
from stepgraph.errors import EngineUnreachable, StoreError
from stepgraph.runners.sessions import close_sessions
from stepgraph.tracing.record.query import select

from ..runners.engines.flows import Mail
from .certificates import Authority

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("cluster")]
GRAPH = "tests.runners.engines.flows:plain"
LIMIT_S = 60


@pytest.fixture(scope="module")
def authority(_cluster_folder: Path) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl on this machine")
    return Authority.made(_cluster_folder / "authority")


@pytest.fixture(scope="module")
def encrypted(_cluster_folder: Path, authority: Authority) -> Iterator[PostgresServer]:
    """A server whose certificate is for localhost, and not for 127.0.0.1."""
    folder = give(_own(_cluster_folder / "encrypted"))
    files = [give(Path(shutil.copy(file, folder))) for file in authority.sign("localhost")]
    files[1].chmod(0o600)
    settings = ("ssl=on", f"ssl_cert_file={files[0]}", f"ssl_key_file={files[1]}")
    server = PostgresServer(folder, settings=settings)
    server.start()
    yield server
    close_sessions()
    server.stop("immediate")


def _own(folder: Path) -> Path:
    folder.mkdir()
    return folder


def at(url: str, host: str, **options: Any) -> str:
    """Return the address of a database by a name of its host, with options of libpq."""
    chosen = "&".join(f"{name}={value}" for name, value in options.items())
    return f"{url.replace('127.0.0.1', host)}?{chosen}"


async def run_there(db: Any, on: str) -> None:
    """Have a worker run a thread, and read its result."""
    ready = asyncio.Event()
    model = ScriptedModel(lambda request, context: "fine")
    worker = asyncio.create_task(aworker(GRAPH, db=db, on=on, models=model, ready=ready.set))
    try:
        run = await asubmit(GRAPH, {"to": "Ada"}, db=db, on=on, thread_id="one")
        assert (await run.aresult(LIMIT_S)).value == Mail("Ada", "fine", "fine")
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        close_sessions()


@pytest.mark.parametrize("on", ["local", "dbos"])
async def test_postgres_by_a_name_that_its_certificate_has(
    on: str, encrypted: PostgresServer, authority: Authority
) -> None:
    plain = encrypted.lend()
    url = at(plain, "localhost", sslmode="verify-full", sslrootcert=authority.certificate)
    await run_there(url, on)
    with Session(url) as session:
        asked = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        assert [dict(row) for row in session.journal.query(asked)] == [{"ssl": True}]
        assert len(select(url, "SELECT * FROM calls").rows) == 2
    encrypted.take_back(plain)


def test_postgres_refused_in_words_that_say_why(
    encrypted: PostgresServer, postgres_url: str, authority: Authority, tmp_path: Path
) -> None:
    url = encrypted.lend()
    stranger = Authority.made(tmp_path / "stranger").certificate
    for refused, why in (
        (at(url, "127.0.0.1", sslmode="verify-full", sslrootcert=authority.certificate), "127.0.0.1"),
        (at(url, "localhost", sslmode="verify-full", sslrootcert=stranger), "certificate"),
        (at(url, "localhost", sslmode="verify-full", sslrootcert=tmp_path / "none.pem"), "none.pem"),
        (at(postgres_url, "127.0.0.1", sslmode="require"), "SSL"),
    ):
        with pytest.raises(StoreError, match=r"TLS failed: .* See sslmode in the address") as raised:
            Session(refused)
        assert why in str(raised.value)
        assert url.split(":")[2].split("@")[0] not in str(raised.value)
    encrypted.take_back(url)


@contextmanager
def before(server: TemporalServer, context: ssl.SSLContext) -> Iterator[int]:
    """Take TLS off what goes to a server, which speaks none itself, at a port of its own."""
    loop = asyncio.new_event_loop()
    listening = threading.Event()
    port = 0

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                while data := await reader.read(2**16):
                    writer.write(data)
                    await writer.drain()
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(carry(reader, outer), carry(inner, writer), return_exceptions=True)

    async def listen() -> None:
        nonlocal port
        listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        port = listener.sockets[0].getsockname()[1]
        listening.set()
        await stopped.wait()
        listener.close()
        carrying = asyncio.all_tasks() - {asyncio.current_task()}
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)
        await asyncio.sleep(0)  # a transport closes its socket in the loop's next round

    stopped = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(listen()))
    thread.start()
    listening.wait(30)
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(30)
        loop.close()


async def test_temporal_with_certificates_of_both_sides(
    temporal_server: TemporalServer, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.certificate))
    context.load_cert_chain(*authority.sign("temporal.example"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    certificate, key = authority.sign("worker")
    for name, value in {
        "": "true",
        "_SERVER_CA_CERT_PATH": authority.certificate,
        "_SERVER_NAME": "temporal.example",
        "_CLIENT_CERT_PATH": certificate,
        "_CLIENT_KEY_PATH": key,
    }.items():
        monkeypatch.setenv(f"TEMPORAL_TLS{name}", str(value))
    with before(temporal_server, context) as port:
        await run_there(tmp_path / "runs.sqlite", f"temporal://127.0.0.1:{port}?queue=tls")
        monkeypatch.delenv("TEMPORAL_TLS_SERVER_CA_CERT_PATH")  # then it is not known who signed
        with pytest.raises(EngineUnreachable, match=f"No Temporal server answers at localhost:{port}"):
            await asubmit(
                GRAPH, {"to": "Ada"}, db=tmp_path / "runs.sqlite", on=f"temporal://localhost:{port}"
            )
    close_sessions()


async def test_temporal_gets_the_api_key_over_tls_alone_and_no_message_has_it(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grpc = pytest.importorskip("grpc")
    heard: list[str] = []

    class Refusing(grpc.GenericRpcHandler):  # type: ignore[misc, name-defined]
        def service(self, details: Any) -> Any:
            heard.append(dict(details.invocation_metadata).get("authorization", ""))

            def refuse(request: bytes, context: Any) -> bytes:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "the key is not known")
                return b""

            return grpc.unary_unary_rpc_method_handler(refuse)

    from concurrent.futures import ThreadPoolExecutor

    certificate, key = authority.sign("localhost")
    server = grpc.server(ThreadPoolExecutor(2), handlers=[Refusing()])
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    port = server.add_secure_port("localhost:0", credentials)
    server.start()
    monkeypatch.setenv("TEMPORAL_API_KEY", "a-key-of-ours")
    monkeypatch.setenv("TEMPORAL_TLS_SERVER_CA_CERT_PATH", str(authority.certificate))
    with pytest.raises(EngineUnreachable) as refused:
        await asubmit(GRAPH, {"to": "Ada"}, db=tmp_path / "runs.sqlite", on=f"temporal://localhost:{port}")
    server.stop(None).wait()
    close_sessions()
    assert set(heard) == {"Bearer a-key-of-ours"}
    assert "a-key-of-ours" not in str(refused.value)
    assert "the key is not known" in str(refused.value)
