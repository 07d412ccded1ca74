"""A bucket that speaks S3's language over a socket: a fake, with what backups ask of one.

Objects in a dictionary; listing by pages, ranges, uploads in parts that are seen once they are
complete. It checks no signature, and can be told to fail.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

PAGE = 3
"""Objects on a page of a listing: few, so that there are several."""


class Bucket(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.requests: list[str] = []
        self.status: int | None = None
        """What every request is answered, if it is to fail."""
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # head and body are sent apart: an answer would wait for the head's ACK
    disable_nagle_algorithm = True
    server: Bucket

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""

    def _request(self) -> tuple[str, dict[str, list[str]]] | None:
        parts = urlsplit(self.path)
        name = unquote(parts.path).removeprefix("/bucket").removeprefix("/")
        with self.server.lock:
            self.server.requests.append(f"{self.command} {name}")
        if self.server.status is not None:
            self._body()
            self._answer(self.server.status, b"<Error><Code>Planted</Code></Error>")
            return None
        return name, parse_qs(parts.query, keep_blank_values=True)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("content-length", headers.pop("length", str(len(body))))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        if (asked := self._request()) is None:
            return
        name, query = asked
        if not name:
            self._list(query)
            return
        held = self.server.objects.get(name)
        if held is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        told = {"etag": '"e"', "last_modified": "Wed, 12 Oct 2022 17:50:00 GMT"}
        if "range" not in self.headers:
            self._answer(200, held, **told)
            return
        start, end = self.headers["range"].removeprefix("bytes=").split("-")
        last = min(int(end), len(held) - 1)
        told["content_range"] = f"bytes {start}-{last}/{len(held)}"
        self._answer(206, held[int(start) : last + 1], **told)

    def do_HEAD(self) -> None:
        if (asked := self._request()) is None:
            return
        held = self.server.objects.get(asked[0])
        if held is None:
            self._answer(404)
            return
        self.send_response(200)
        self.send_header("content-length", str(len(held)))
        self.send_header("etag", '"e"')
        self.send_header("last-modified", "Wed, 12 Oct 2022 17:50:00 GMT")
        self.end_headers()

    def do_PUT(self) -> None:
        body = self._body()
        if (asked := self._request()) is None:
            return
        name, query = asked
        if "partNumber" in query:
            upload = self.server.uploads[query["uploadId"][0]]
            upload[int(query["partNumber"][0])] = body
        else:
            self.server.objects[name] = body
        self._answer(200, etag='"e"')

    def do_POST(self) -> None:
        body = self._body()
        if (asked := self._request()) is None:
            return
        name, query = asked
        if "delete" in query:
            for key in re.findall(r"<Key>(.*?)</Key>", body.decode()):
                self.server.objects.pop(unescape(key), None)
            self._answer(200, b"<DeleteResult><Deleted><Key>x</Key></Deleted></DeleteResult>")
            return
        if "uploads" in query:
            upload = uuid.uuid4().hex
            self.server.uploads[upload] = {}
            told = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId>"
            self._answer(200, f"{told}</InitiateMultipartUploadResult>".encode())
            return
        pieces = self.server.uploads.pop(query["uploadId"][0])
        self.server.objects[name] = b"".join(pieces[no] for no in sorted(pieces))
        told = '<CompleteMultipartUploadResult><ETag>"e"</ETag></CompleteMultipartUploadResult>'
        self._answer(200, told.encode())

    def do_DELETE(self) -> None:
        if (asked := self._request()) is None:
            return
        name, query = asked
        if "uploadId" in query:
            self.server.uploads.pop(query["uploadId"][0], None)
        else:
            self.server.objects.pop(name, None)
        self._answer(204)

    def _list(self, query: dict[str, list[str]]) -> None:
        prefix = query.get("prefix", [""])[0]
        after = query.get("continuation-token", [""])[0]
        names = sorted(name for name in self.server.objects if name.startswith(prefix))
        names = [name for name in names if name > after]
        page, more = names[:PAGE], len(names) > PAGE
        contents = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(self.server.objects[name])}</Size>"
            '<LastModified>2022-10-12T17:50:00.000Z</LastModified><ETag>"e"</ETag></Contents>'
            for name in page
        )
        token = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if more else ""
        told = f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{contents}"
        self._answer(200, f"<ListBucketResult>{told}</ListBucketResult>".encode())


@contextmanager
def bucket() -> Iterator[Bucket]:
    """A bucket named `bucket`, gone at the end."""
    made = Bucket()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        made.server_close()
        thread.join()
