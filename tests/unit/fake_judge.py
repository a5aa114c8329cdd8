"""A local endpoint that speaks OpenAI's chat completions, judges as it is told, and fails on demand.

    with FakeJudge(lambda asked: "Verdict: A") as judge:
        judge.faults[:] = ["503", "closed"]      # what the next requests get; then it is honest
        … EndpointJudge(url=judge.url, model="fake", allow_private=True)

`judge.requests` has the body and headers of every request.
"""

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = {
    "429": "too many requests, with Retry-After: 0",
    "500": "a server's error",
    "401": "refused, and the answer repeats the key",
    "302": "sent elsewhere",
    "closed": "the connection is closed without an answer",
    "no json": "200, and something else than JSON",
    "no choices": "200, and JSON of another kind",
}


@dataclass
class Asked:
    """What a request asks: the whole text, and the materials by name."""

    text: str
    temperature: float
    seed: int | None

    def __getitem__(self, name: str) -> str:
        found = re.search(rf"<{name} ([0-9a-f]+)>\n(.*?)\n</{name} \1>", self.text, re.DOTALL)
        assert found, f"no material {name}"
        return found[2]

    def __contains__(self, name: str) -> bool:
        return f"\n</{name} " in self.text


@dataclass
class FakeJudge:
    """answer: what it says to a question."""

    answer: Callable[[Asked], str]
    faults: list[str] = field(default_factory=list)
    fault: Callable[[int], str] = lambda number: ""
    """Fault of the request with this number, from 0, where `faults` is empty."""
    said: str = ""
    """What it says with a fault; where empty, it repeats the key."""
    cut: Callable[[Asked], bool] = lambda asked: False
    """Whether it ran into its longest length with this answer."""
    requests: list[tuple[dict[str, Any], dict[str, str]]] = field(default_factory=list)

    def __enter__(self) -> "FakeJudge":
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"judge": self}))
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def take(self, body: dict[str, Any], headers: dict[str, str]) -> str:
        with self._lock:
            self.requests.append((body, headers))
            return self.faults.pop(0) if self.faults else self.fault(len(self.requests) - 1)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away; no reason for a traceback."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    judge: FakeJudge

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = self.judge.take(body, headers)
        if self.path != "/v1/chat/completions":
            self._send(404, b"{}")
        elif fault == "closed":
            self.close_connection = True
        elif fault == "302":
            self._send(302, b"", {"Location": "http://127.0.0.1:9/"})
        elif fault.isdigit():
            said = self.judge.said or f"refused, your key was {headers.get('authorization', '')[7:]}"
            self._send(int(fault), json.dumps({"error": {"message": said}}).encode(), {"Retry-After": "0"})
        elif fault:
            self._send(200, b"oops" if fault == "no json" else b'{"data": []}')
        else:
            text = "\n".join(message["content"] for message in body["messages"])
            asked = Asked(text, body["temperature"], body.get("seed"))
            message = {"role": "assistant", "content": self.judge.answer(asked)}
            finish = "length" if self.judge.cut(asked) else "stop"
            self._send(200, json.dumps({"choices": [{"message": message, "finish_reason": finish}]}).encode())

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
