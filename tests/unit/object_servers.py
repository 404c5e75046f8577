"""An S3-compatible server and an IPFS gateway in the process: as much of each as objects need."""

from __future__ import annotations

import re
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Objects(BaseHTTPRequestHandler):
    """PUT, GET with ranges, HEAD, DELETE and DeleteObjects; signed requests only, if `signed`."""

    protocol_version = "HTTP/1.1"
    held: dict[str, bytes]
    asked: list[str]
    signed = True

    def _key(self) -> str | None:
        self.asked.append(f"{self.command} {self.path}")
        if self.signed and "AWS4-HMAC-SHA256" not in self.headers.get("Authorization", ""):
            self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
            return None
        return urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)

    def _answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if (key := self._key()) is not None:
            self.held[key] = data
            self._answer(200, ETag='"e"')

    def do_GET(self) -> None:
        if (key := self._key()) is None:
            return
        if "list-type=2" in self.path:
            self._answer(
                200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
            )
            return
        data = self.held.get(key)
        if data is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        facts = {"ETag": '"e"', "Last_Modified": "Sat, 21 Nov 2026 18:00:00 GMT"}
        asked = self.headers.get("Range")
        if asked is None or self.command == "HEAD":
            self.send_response(200)
            for name, value in facts.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)
            return
        low, _, high = asked.removeprefix("bytes=").partition("-")
        first, last = int(low), min(int(high or len(data)), len(data) - 1)
        whole = f"bytes {first}-{last}/{len(data)}"
        self._answer(206, data[first : last + 1], Content_Range=whole, **facts)

    do_HEAD = do_GET

    def do_DELETE(self) -> None:
        if (key := self._key()) is not None:
            self.held.pop(key, None)
            self._answer(204)

    def do_POST(self) -> None:
        """DeleteObjects: POST /bucket?delete with the keys in XML."""
        text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if (bucket := self._key()) is None:
            return
        keys = re.findall("<Key>(.*?)</Key>", text)
        for key in keys:
            self.held.pop(f"{bucket}/{key}", None)
        gone = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
        self._answer(200, f"<DeleteResult>{gone}</DeleteResult>".encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def served(signed: bool) -> Iterator[tuple[str, type[Objects]]]:
    """A server on a free port: its URL, and the class that holds its objects."""
    handler = type("Served", (Objects,), {"held": {}, "asked": [], "signed": signed})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", handler
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
