"""A local HTTP server that misbehaves on demand, for tests of everything that fetches.

    with FaultyServer({"a.warc.gz": content}) as server:
        server.faults["a.warc.gz"] = ["503", "dropped"]      # what the next requests for it get; then it is honest
        fetch(f"{server.url}/a.warc.gz")

`server.requests` lists what was asked, in order. Ranges, If-Range and entity tags work as RFC 9110 says.
"""

import base64
import hashlib
import re
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Answer = Callable[[dict[str, list[str]]], tuple[int, bytes]]

# fault → what it does to one answer; a number is an answer of that status
FAULTS = {
    "403": "refused, as Common Crawl does when asked too often",
    "429": "too many requests, with Retry-After: 7",
    "500": "a server error",
    "503": "slow down",
    "closed": "the connection is closed without an answer",
    "dropped": "the connection is closed after half of the body",
    "empty": "the connection is closed before the body",
    "slow": "after half of the body, nothing more comes",
    "long": "Content-Length is 1,000 bytes too large",
    "short": "Content-Length is half of what it should be",
    "range ignored": "the whole file is sent, with 200",
    "range wrong": "another part than the one that was asked for",
    "no validators": "neither ETag nor Last-Modified",
    "corrupted": "a byte near the middle of the body is another one, not always the same",
}


@dataclass
class FaultyServer:
    """files: path → content. answers: path → function of the query, for what is no file. redirects: path → URL.
    digests: state Repr-Digest."""

    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    redirects: dict[str, str] = field(default_factory=dict)
    digests: bool = False
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sent: int = 0
    """Bytes of bodies that clients took, or the buffers between."""

    def __enter__(self) -> "FaultyServer":
        self._over = threading.Event()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def asked(self, path: str) -> list[dict[str, str]]:
        """The headers of each request for a path, names in lower case."""
        return [headers for asked, headers in self.requests if asked == path]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has enough closes the connection; no reason for a traceback."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: FaultyServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path).lstrip("/")
        self.site.requests.append((path, {name.lower(): value for name, value in self.headers.items()}))
        fault = self.site.faults[path].pop(0) if self.site.faults[path] else ""
        if fault == "closed":
            self.close_connection = True
        elif fault.isdigit():
            self._send(int(fault), b"no", {"Retry-After": "7"} if fault == "429" else {})
        elif path in self.site.redirects:
            self._send(302, b"", {"Location": self.site.redirects[path]})
        elif path in self.site.answers:
            self._send(*self.site.answers[path](parse_qs(parts.query)), {}, fault)
        elif path in self.site.files:
            self._send_file(self.site.files[path], fault)
        else:
            self._send(404, b"not here", {})

    def _send_file(self, content: bytes, fault: str) -> None:
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        headers = {} if fault == "no validators" else {"ETag": etag}
        if self.site.digests:
            headers["Repr-Digest"] = f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"
        asked = re.fullmatch(r"bytes=([0-9]+)-([0-9]*)", self.headers.get("Range", ""))
        is_current = self.headers.get("If-Range", etag) == etag
        if not asked or not is_current or fault == "range ignored":
            self._send(200, content, headers, fault)
            return
        start, end = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        if fault == "range wrong":
            start = max(start - 5, 0) if start else 5
        if start >= len(content):
            self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        self._send(206, content[start : end + 1], headers, fault)

    def _send(self, status: int, body: bytes, headers: dict[str, str], fault: str = "") -> None:
        length = {"long": len(body) + 1000, "short": len(body) // 2}.get(fault, len(body))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        half = len(body) // 2
        if fault == "corrupted":
            at = half + len(self.site.requests) % 100 if len(body) > 300 else half
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        body = b"" if fault == "empty" else body[:half] if fault in ("dropped", "slow") else body
        for start in range(0, len(body), 1 << 16):
            self.wfile.write(body[start : start + (1 << 16)])
            self.site.sent += len(body[start : start + (1 << 16)])
        if fault == "slow":
            self.wfile.flush()
            self.site._over.wait(20)
        if fault in ("dropped", "empty", "slow", "long", "short"):
            self.close_connection = True
