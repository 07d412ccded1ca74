"""The sender of webhooks: where it connects to, and what it makes of what the other side does."""

from __future__ import annotations

import datetime
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from holdfast.backends.webhook_sender import HttpSender
from holdfast.core.addresses import is_public
from holdfast.core.webhooks import clean_url
from holdfast.errors import ValidationError
from support.llm_server import LLMServer, Reply

OWN = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "::1", "::", "fe80::1",
    "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8",
    "64:ff9b::a00:1", "2002:7f00:1::", "2001:0:7f00:1::", "nonsense", "",
]  # fmt: skip
"""Addresses that are not of the open Internet."""


@pytest.fixture
def receiver() -> Iterator[LLMServer]:
    with LLMServer() as running:
        running.answer_all(Reply(body={}))
        yield running


class Names:
    """A resolver whose answers are scripted: one after the other, the last one again and again."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@pytest.fixture
async def sender() -> AsyncIterator[HttpSender]:
    made = HttpSender(private=False, timeout_s=2.0)
    yield made
    await made.close()


@pytest.mark.parametrize("address", OWN)
async def test_no_address_of_the_own_network_is_called(address: str, receiver: LLMServer) -> None:
    assert not is_public(address)
    sender = HttpSender(private=False, resolve=Names([address]))
    sent = await sender.send("http://hooks.example/", b"{}", {})
    assert sent.final
    assert sent.error == "The address is not public."
    await sender.close()


async def test_one_bad_address_among_good_ones_is_enough() -> None:
    sender = HttpSender(private=False, resolve=Names(["93.184.215.14", "127.0.0.1"]))
    assert (await sender.send("http://hooks.example/", b"{}", {})).final
    await sender.close()


async def test_the_system_is_asked_and_its_answer_checked(
    sender: HttpSender, receiver: LLMServer
) -> None:
    url = receiver.url.replace("127.0.0.1", "localhost")
    for each in (url, receiver.url, receiver.url.replace("127.0.0.1", "127.1")):
        assert (await sender.send(each, b"{}", {})).error == "The address is not public."
    assert receiver.requests == []


async def test_it_connects_to_the_address_it_has_checked(receiver: LLMServer) -> None:
    """A name that points elsewhere a moment later leads nowhere else: it is looked up once."""
    names = Names(["127.0.0.1"], ["203.0.113.1"])
    sender = HttpSender(private=True, resolve=names)
    port = receiver.url.rpartition(":")[2].partition("/")[0]
    sent = await sender.send(f"http://hooks.example:{port}/x?y=1", b'{"a": 1}', {"X-A": "b"})
    assert (sent.status, sent.error) == (200, None)
    assert names.asked == [("hooks.example", int(port))]
    [request] = receiver.requests
    assert request.headers["host"] == f"hooks.example:{port}"
    assert (request.path, request.raw, request.headers["x-a"]) == ("/x?y=1", b'{"a": 1}', "b")
    await sender.close()


async def test_a_proxy_of_the_environment_is_not_asked(
    receiver: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    sender = HttpSender(private=True)
    assert (await sender.send(receiver.url, b"{}", {})).status == 200
    await sender.close()


async def test_a_name_without_an_address() -> None:
    async def nothing(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    for resolve in (nothing, Names([])):
        sender = HttpSender(private=True, resolve=resolve)
        sent = await sender.send("http://hooks.example/", b"{}", {})
        assert (sent.error, sent.final) == ("The name has no address.", False)
        await sender.close()


async def test_the_next_address_is_tried(receiver: LLMServer) -> None:
    sender = HttpSender(private=True, resolve=Names(["127.0.0.2", "127.0.0.1"]))
    assert (await sender.send(receiver.url, b"{}", {})).status == 200
    await sender.close()


async def test_an_endless_answer_ends() -> None:
    with _endless() as url:
        sender = HttpSender(private=True, timeout_s=5.0)
        begun = time.monotonic()
        assert (await sender.send(url, b"{}", {})).status == 200
        assert time.monotonic() - begun < 4
        await sender.close()


async def test_an_answer_that_drips_ends_at_the_deadline() -> None:
    with _endless(pause_s=0.05) as url:
        sender = HttpSender(private=True, timeout_s=0.5)
        sent = await sender.send(url, b"{}", {})
        assert "no answer within 0.5 s" in (sent.error or "")
        await sender.close()


async def test_tls_proves_the_name_and_not_the_address(tmp_path: Path) -> None:
    certificate = _certificate(tmp_path, "hooks.example")
    trust = ssl.create_default_context(cafile=str(certificate))
    with _tls(certificate) as (port, asked):
        sender = HttpSender(private=True, resolve=Names(["127.0.0.1"]), trust=trust)
        sent = await sender.send(f"https://hooks.example:{port}/", b"{}", {})
        assert (sent.status, sent.error) == (200, None)
        sent = await sender.send(f"https://other.example:{port}/", b"{}", {})
        assert "The connection failed" in (sent.error or "")
        assert asked == ["hooks.example", "other.example"]
        await sender.close()


@pytest.mark.parametrize(
    "url",
    [
        "", "example.com", "ftp://example.com/", "file:///etc/passwd", "http://", "http:///x",
        "http://a:b@example.com/", "http://a@example.com/", "http://example.com:0/",
        "http://example.com:99999/", "http://exa mple.com/", "http://example.com\\@evil/",
        "http://localhost/", "http://LOCALHOST./", "http://a.localhost/", "http://127.0.0.1/",
        "http://127.1/", "http://[::1]/", "http://10.0.0.1/", "http://[fe80::1%25eth0]/",
        "http://example.com/\n", "http://example.com/" + "a" * 2_048, None, 7,
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_good_is_refused(url: Any) -> None:
    if url == "http://example.com/\n":
        url = "http://example.com/\nx"
    with pytest.raises(ValidationError):
        clean_url(url, private=False)


def test_addresses_of_the_own_network_can_be_allowed() -> None:
    assert clean_url("http://127.0.0.1:80/x", private=True) == "http://127.0.0.1:80/x"
    with pytest.raises(ValidationError):
        clean_url("http://a:b@127.0.0.1/", private=True)


class _Running:
    """An HTTP server in a thread."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self.http = HTTPServer(("127.0.0.1", 0), handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Any:
        self.thread.start()
        return f"http://127.0.0.1:{self.http.server_address[1]}/"

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join(5)


def _endless(pause_s: float = 0.0) -> _Running:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            piece = b"x" * (1 if pause_s else 65_536)
            try:
                for _ in range(100 if pause_s else 100_000):
                    self.wfile.write(piece)
                    self.wfile.flush()
                    time.sleep(pause_s)
            except OSError:
                return  # the sender had enough

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output clean."""

    return _Running(Handler)


class _tls(_Running):  # noqa: N801 - reads like a function where it is used
    """An HTTPS server; tells its port and the names it was asked for."""

    def __init__(self, certificate: Path) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Keep the test's output clean."""

        super().__init__(Handler)
        self.asked: list[str | None] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        context.sni_callback = lambda _socket, name, _context: self.asked.append(name)  # type: ignore[assignment]
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)

    def __enter__(self) -> tuple[int, list[str | None]]:
        super().__enter__()
        return self.http.server_address[1], self.asked


def _certificate(folder: Path, name: str) -> Path:
    """A certificate that signs itself, for this name only; its key lies beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with closing(path.with_suffix(".key").open("wb")) as file:
        file.write(secret)
    return path
