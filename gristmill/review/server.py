"""The review page, served to one reviewer on this machine's loopback address.

Every path begins with a token that is made anew at each start, and a request is answered only with the token, to a
host name that is this server's, and from no other origin. The state is the log on disk: it is read again for each
request, so a killed server loses nothing. Texts travel as JSON and the page shows them as text, never as HTML.
"""

import secrets
import socket
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import FileResponse, JSONResponse
from pydantic import Field, NonNegativeFloat
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gristmill.review.folder import ASSIGNMENT, LOG, read_review
from gristmill.review.log import MAX_REVIEWER, Judgement, Verdict, append
from gristmill.schema import Schema

HERE = Path(__file__).parent
MAX_BODY = 200_000
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


def serve(folder: Path, reviewer: str, *, port: int = 0) -> None:
    """Serve until interrupted; the address with its token goes to stdout. port 0: any free one.

    Raises ValueError when the folder is no review, or the name too long for its log.
    """
    if len(reviewer) > MAX_REVIEWER:
        raise ValueError(f"the reviewer's name has {len(reviewer)} characters; use at most {MAX_REVIEWER}")
    review = read_review(folder)
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen()  # whoever opens the address as soon as it is printed waits, and is not refused
    port = listening.getsockname()[1]
    token = secrets.token_urlsafe(24)
    app = review_app(folder, reviewer, token=token, port=port)
    print(f"http://127.0.0.1:{port}/{token}/", flush=True)
    for number in review.judged.torn:
        print(f"{LOG}:{number}: cut off by a crash, left out", flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, server_header=False))
    server.run(sockets=[listening])


class Said(Schema):
    """What the page sends: a verdict about the item it shows."""

    item: str
    verdict: Verdict
    written: Annotated[str, Field(max_length=MAX_BODY)] | None = None
    remark: Annotated[str, Field(max_length=MAX_BODY)] | None = None
    seconds: NonNegativeFloat | None = None


def review_app(folder: Path, reviewer: str, *, token: str, port: int) -> ASGIApp:
    """The page and its three calls for one reviewer."""
    app = FastAPI(openapi_url=None)

    # async without a pause: requests take turns, so what is checked still holds when it is written
    @app.get("/next")
    async def next_item() -> dict[str, Any]:
        return _state(folder, reviewer)

    @app.post("/judgement")
    async def judge(said: Said) -> JSONResponse:
        state = _state(folder, reviewer)
        shown = state["item"]
        if shown is None or shown["id"] != said.item:
            return JSONResponse({**state, "problem": "This item was judged already; here is the next."}, 409)
        if (said.verdict == "written") != bool(said.written and said.written.strip()):
            return JSONResponse({**state, "problem": "Write the better answer first."}, 422)
        left = read_review(folder).items[said.item].left_for(reviewer)
        judgement = Judgement(
            reviewer=reviewer,
            item=said.item,
            verdict=said.verdict,
            left=left,
            written=said.written if said.verdict == "written" else None,
            remark=said.remark or None,
            seconds=said.seconds,
        )
        append(folder / LOG, judgement)
        return JSONResponse(_state(folder, reviewer))

    @app.post("/undo")
    async def undo() -> JSONResponse:
        mine = list(read_review(folder).judged.by(reviewer).values())
        if not mine:
            return JSONResponse({**_state(folder, reviewer), "problem": "There is nothing to undo."}, 409)
        last = mine[-1]
        append(folder / LOG, Judgement(reviewer=reviewer, item=last.item, verdict="undo", left=last.left))
        return JSONResponse(_state(folder, reviewer))

    for path, name, kind in [
        ("/", "page.html", "text/html"),
        ("/page.js", "page.js", "text/javascript"),
        ("/page.css", "page.css", "text/css"),
    ]:
        app.add_api_route(path, _file(name, kind), methods=["GET"])
    return Guard(app, token=token, port=port)


def _file(name: str, kind: str):
    async def answer() -> FileResponse:
        return FileResponse(HERE / name, media_type=kind)

    return answer


def _state(folder: Path, reviewer: str) -> dict[str, Any]:
    """What the page shows: the first item that this reviewer has not judged, without where its answers come from."""
    review = read_review(folder)
    mine = review.judged.by(reviewer)
    item = next((item for item in review.items.values() if item.id not in mine), None)
    assignment = folder / ASSIGNMENT
    shown = None
    if item is not None:
        left = item.left_for(reviewer)
        shown = {
            "id": item.id,
            "prompt": [message.model_dump() for message in item.prompt],
            "left": item.answers[left].text,
            "right": item.answers[1 - left].text,
        }
    return {
        "reviewer": reviewer,
        "assignment": assignment.read_text(encoding="utf-8") if assignment.exists() else "",
        "judged": len(mine),
        "total": len(review.items),
        "item": shown,
    }


class Guard:
    """Answers 403 to all but requests with the token, to this host, of this origin; strict headers on every answer."""

    def __init__(self, app: ASGIApp, *, token: str, port: int) -> None:
        self._app, self._token = app, token.encode()
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {key.encode() for key in HEADERS}
                kept = [(name, value) for name, value in message["headers"] if name.lower() not in own]
                message["headers"] = kept + [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            await send(message)

        first, rest = _split(scope["path"])
        status = 403 if scope["type"] != "http" else self._refusal(scope, first)
        if status:
            await JSONResponse({"problem": "refused"}, status)(scope, receive, send_with_headers)
        else:
            await self._app({**scope, "path": rest, "raw_path": rest.encode()}, receive, send_with_headers)

    def _refusal(self, scope: Scope, token: str) -> int | None:
        """The status to refuse with, or None."""
        headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        values = dict(headers)
        hosts = [value for name, value in headers if name == "host"]
        if not secrets.compare_digest(token.encode(), self._token) or len(hosts) != 1 or hosts[0] not in self._hosts:
            return 403
        origin, reads = values.get("origin"), scope["method"] in ("GET", "HEAD")
        if origin != f"http://{hosts[0]}" and not (reads and origin is None):
            return 403
        if reads:
            return None
        if values.get("content-type", "").partition(";")[0].strip() != "application/json":
            return 415
        length = values.get("content-length", "")
        return None if length.isdecimal() and int(length) <= MAX_BODY else 413


def _split(path: str) -> tuple[str, str]:
    """`/token/page.js` → (token, /page.js); without a second slash there is no token."""
    parts = path.split("/", 2)
    return (parts[1], f"/{parts[2]}") if len(parts) == 3 and not parts[0] else ("", "/")
