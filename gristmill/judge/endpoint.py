"""A judge behind an OpenAI-compatible endpoint: POST URL/chat/completions.

Attempts that may succeed later (429, a server's error, a broken connection, an answer that is none) are repeated a
bounded number of times. Redirects are not followed, proxies of the environment not used, and answers longer than
MAX_ANSWER_BYTES not read: the address that was checked is the one that gets the key, and it alone. The key is in a
header and nowhere else; where a server repeats it, it is taken out.
"""

import json
import os
import random
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import httpx

from gristmill.crawl.http_facts import retry_after_s
from gristmill.errors import SourceUnavailable
from gristmill.judge.address import checked_address
from gristmill.judge.config import EndpointJudge
from gristmill.judge.questions import Question, Reply

MAX_ANSWER_BYTES = 1 << 22
LONGEST_WAIT_S = 60.0
SHORTEST_SECRET = 6  # characters of a key that a quoted message may repeat at most
CUT = frozenset({"length", "content_filter"})  # finish reasons of texts that are not whole
PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


class Endpoint:
    """A respondent; used from one thread, asks from several."""

    def __init__(self, config: EndpointJudge) -> None:
        """Raises ValueError for a refused address or a missing key, SourceUnavailable for an unknown host."""
        self._config, self._key = config, _key(config)
        self._address = checked_address(config.url, allow_private=config.allow_private)
        self.name = f"{config.model} at {httpx.URL(config.url).host}"
        self._stop = threading.Event()

    @property
    def identity(self) -> dict[str, Any]:
        return self._config.identity()

    def replies(self, questions: Sequence[Question]) -> Generator[tuple[int, Reply]]:
        if not questions:
            return
        self._stop.clear()
        limits = httpx.Limits(max_connections=self._config.concurrency)
        with (
            httpx.Client(
                follow_redirects=False, trust_env=False, timeout=self._config.timeout_s, limits=limits
            ) as client,
            ThreadPoolExecutor(self._config.concurrency, thread_name_prefix="judge") as pool,
        ):
            started = {pool.submit(self._reply, client, each): number for number, each in enumerate(questions)}
            try:
                for done in as_completed(started):
                    yield started[done], done.result()
            finally:
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)

    def _reply(self, client: httpx.Client, question: Question) -> Reply:
        wait_s = self._config.first_wait_s
        error = ""
        for attempt in range(1, self._config.tries + 1):
            try:
                text, cut = self._post(client, question)
                return Reply(self._hidden(text), tries=attempt, cut=cut)
            except _Refused as refused:
                return Reply(None, "failed", str(refused), attempt)
            except _TryAgain as again:
                error = str(again)
                asked_s = min(again.wait_s, LONGEST_WAIT_S) if again.wait_s else 0.0
                pause_s = max(asked_s, random.uniform(wait_s / 2, wait_s))  # spread: all questions failed together
            if attempt == self._config.tries or self._stop.wait(pause_s):
                return Reply(None, "failed", f"{error}, in {attempt} attempts", attempt)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        raise AssertionError("tries is positive")

    def _post(self, client: httpx.Client, question: Question) -> tuple[str, bool]:
        """The text, and whether it was cut off."""
        url = httpx.URL(f"{self._config.url}/chat/completions")
        drawn = {"seed": question.seed} if question.temperature else {}
        body = {
            "model": self._config.model,
            "messages": list(question.messages),
            "temperature": question.temperature,
            "max_tokens": min(question.max_tokens, self._config.max_tokens),
            **drawn,
        }
        headers = {"Host": url.netloc.decode("ascii")}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = client.build_request(
            "POST",
            url.copy_with(host=str(self._address)),
            json=body,
            headers=headers,
            extensions={"sni_hostname": url.host},
        )
        until = time.monotonic() + self._config.timeout_s
        try:
            answer = client.send(request, stream=True)
            try:
                content = _read(answer, until)
            finally:
                answer.close()
        except httpx.HTTPError as error:
            raise _TryAgain(type(error).__name__) from error
        if answer.status_code in PASSING:
            raise _TryAgain(f"it answers {answer.status_code}", wait_s=retry_after_s(answer.headers))
        if answer.status_code != 200:
            raise _Refused(f"it answers {answer.status_code}{self._said(content)}")
        return _text_of(content)

    def _said(self, content: bytes) -> str:
        """The server's explanation, unless it repeats a part of the key."""
        try:
            found = json.loads(content)
            said = found["error"]["message"] if isinstance(found["error"], dict) else found["error"]
        except (ValueError, KeyError, TypeError):
            return ""
        said = "".join(letter for letter in " ".join(str(said).split()) if letter.isprintable())
        if self._key is None:
            return f" ({said[:200]})"
        size = min(len(self._key), SHORTEST_SECRET)
        parts = {self._key[start : start + size] for start in range(len(self._key) - size + 1)}
        return "" if any(part in said for part in parts) else f" ({said[:200]})"

    def _hidden(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


class _TryAgain(Exception):
    def __init__(self, said: str, *, wait_s: float | None = None) -> None:
        super().__init__(said)
        self.wait_s = wait_s


class _Refused(Exception):
    pass


def _read(answer: httpx.Response, until: float) -> bytes:
    content = bytearray()
    for piece in answer.iter_bytes():
        content += piece
        if len(content) > MAX_ANSWER_BYTES:
            raise _Refused(f"its answer is longer than {MAX_ANSWER_BYTES:,} bytes")
        if time.monotonic() > until:
            raise _TryAgain("its answer trickles")
    return bytes(content)


def _text_of(content: bytes) -> tuple[str, bool]:
    try:
        choice = json.loads(content)["choices"][0]
        text, finish = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise _TryAgain("its answer is no chat completion") from error
    if text is not None and not isinstance(text, str):
        raise _TryAgain("its answer is no chat completion")
    return text or "", isinstance(finish, str) and finish in CUT


def _key(config: EndpointJudge) -> str | None:
    if config.key_env is None:
        return None
    key = os.environ.get(config.key_env, "").strip()
    if not key:
        raise SourceUnavailable(f"the environment variable {config.key_env} has no key for the judge {config.model}")
    if not key.isascii() or not key.isprintable():
        raise ValueError(f"the key in {config.key_env} has characters that no header may have")
    return key
