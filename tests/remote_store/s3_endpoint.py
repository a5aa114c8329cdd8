"""moto's S3 over real HTTP, with faults on demand.

    with S3Endpoint() as s3:
        s3.fault = lambda number, method, name: 503 if number % 3 == 0 else None
        Objects(s3.url("store"))

`s3.requests` lists method and object of each request that came in, in order, refused ones included.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "grain"
CODES = {403: "AccessDenied", 500: "InternalError", 503: "SlowDown"}

Fault = Callable[[int, str, str], int | None]


class S3Endpoint:
    """fault: (number of the request from 1, method, object) → the status to refuse it with, or None."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.fault: Fault = lambda number, method, name: None
        self.after: Callable[[str, str], None] = lambda method, name: None
        """Called when a request was answered inside, before its answer goes out."""

    def __enter__(self) -> "S3Endpoint":
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._counting = threading.Lock()
        self._server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def url(self, prefix: str) -> str:
        return f"s3://{BUCKET}/{prefix}"

    def asked(self, method: str) -> list[str]:
        """Objects asked for by a method, in order."""
        return [name for used, name in self.requests if used == method]

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method, name = environ["REQUEST_METHOD"], environ["PATH_INFO"].removeprefix(f"/{BUCKET}").lstrip("/")
        with self._counting:
            self.requests.append((method, name))
            status = self.fault(len(self.requests), method, name)
        if status is not None:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            body = f"<?xml version='1.0'?><Error><Code>{CODES[status]}</Code><Message>no</Message></Error>".encode()
            start_response(f"{status} {CODES[status]}", [("Content-Length", str(len(body)))])
            return [] if method == "HEAD" else [body]
        answer = list(self._moto(environ, start_response))
        self.after(method, name)
        return answer


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any, **__: Any) -> None:
        pass
