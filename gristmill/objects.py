"""Objects below one URL of any fsspec store (`s3://`, `gs://`, `file://`, …): read, written whole, listed, deleted.

Files are kept by content, as `.files/ab/abcd…` under their sha256: each is stored once however many artifacts and
shards have it, none ever changes, and what arrives is hashed before it is believed. Retries with growing pauses are the
store's own library's; what it gives up becomes StoreUnavailable, one sentence without anything secret. Credentials come
from the environment or that library's own configuration, never from the URL.
Left out: stores whose writes are not whole or absent. Those of an object store are; for a folder a rename sees to it.
"""

import errno
import hashlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from gristmill.errors import StoreUnavailable as StoreUnavailable
from gristmill.fingerprint import read_sha256

FILES = ".files"
GRACE = timedelta(days=1)
"""What was written less long ago gc lets alone: its record may be on the way."""
REQUESTS = 16
"""Requests at a time."""
ATTEMPTS = 6
"""Of one request to S3, with growing pauses between; AWS_MAX_ATTEMPTS says otherwise."""
CONNECT_S, READ_S = 10, 60
SECRET_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")

T = TypeVar("T")
R = TypeVar("R")


class DamagedObject(RuntimeError):
    """An object is not what its name says."""


@dataclass(frozen=True)
class ObjectFacts:
    size: int
    modified: datetime | None
    """None where the store does not say."""

    def is_older_than(self, age: timedelta) -> bool:
        """False where nobody knows."""
        return self.modified is not None and self.modified < datetime.now(UTC) - age


def file_object(sha256: str) -> str:
    """The name under which a file's content is kept."""
    return f"{FILES}/{sha256[:2]}/{sha256}"


@dataclass(frozen=True)
class Objects:
    """All objects below `url`. Names are relative to it. Every method raises StoreUnavailable."""

    url: str

    def __post_init__(self) -> None:
        protocol, separator, rest = self.url.partition("://")
        if not separator or not protocol or not rest:
            raise ValueError(f"{self.url!r} is no URL of a store; expected one such as s3://bucket/prefix")
        if "@" in rest.partition("/")[0] or "?" in rest or "#" in rest:
            raise ValueError(
                f"the URL of the {protocol} store holds more than a place; credentials and options belong into the "
                "environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL) or ~/.aws, not into the URL"
            )

    def read(self, name: str) -> bytes | None:
        """An object's content; None when there is none."""
        with self._faults(name):
            try:
                return self._filesystem.cat_file(self._at(name))
            except FileNotFoundError as error:
                self._require_bucket(error)
                return None

    def write(self, name: str, content: bytes) -> None:
        """Put content under a name, at once or not at all; what was there is replaced."""
        with self._faults(name):
            if self._is_folder:
                self._rename_into(name, content)
            else:
                self._filesystem.pipe_file(self._at(name), content)

    def create(self, name: str, content: bytes) -> bool:
        """The same where there is no such object yet; False, and nothing happens, where there is one."""
        with self._faults(name):
            try:
                if self._is_folder:
                    self._link_into(name, content)
                else:
                    self._filesystem.pipe_file(self._at(name), content, mode="create")
                return True
            except FileExistsError:
                return False
            except OSError as error:
                if _code(error) in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
                    return False  # s3fs knows AWS's own way of saying that it exists
                raise

    def facts(self, name: str) -> ObjectFacts | None:
        """Size and date of an object; None when there is none."""
        with self._faults(name):
            try:
                info = self._filesystem.info(self._at(name))
            except FileNotFoundError as error:
                self._require_bucket(error)
                return None
        return ObjectFacts(int(info["size"]), _modified(info))

    def size(self, name: str) -> int | None:
        """Bytes of an object; None when there is none."""
        return facts.size if (facts := self.facts(name)) else None

    def keep(self, path: Path, sha256: str, *, anew: bool = False) -> None:
        """Store a local file under its digest, unless it is there in its size. anew: even then.

        One that gc might soon take, if nothing else names it, gets a new date: in a folder at once, elsewhere by
        another upload.
        """
        name = file_object(sha256)
        facts = None if anew else self.facts(name)
        if facts and facts.size != path.stat().st_size:
            facts = None
        if facts and not facts.is_older_than(GRACE / 2):
            return
        with self._faults(name):
            try:
                if facts and self._is_folder:
                    os.utime(self._at(name))
                    return
                self._filesystem.put_file(str(path), self._at(name))
            except FileNotFoundError as error:
                self._require_bucket(error)
                raise

    def fetch(self, sha256: str, target: Path) -> None:
        """Bring a file by its digest; `target` appears when all of it is here and hashed.

        Raises FileNotFoundError, or DamagedObject when it arrives twice with another content.
        """
        name = file_object(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        arriving = target.with_name(f".{target.name[:200]}.{uuid.uuid4().hex[:8]}.part")
        try:
            for _ in range(2):  # a broken transfer is not a broken object
                with self._faults(name):
                    self._filesystem.get_file(self._at(name), str(arriving))
                if read_sha256(arriving) == sha256:
                    arriving.replace(target)
                    return
        finally:
            arriving.unlink(missing_ok=True)
        raise DamagedObject(f"{self.url}/{name} does not have the sha256 that is its name")

    def digest(self, name: str) -> str:
        """The sha256 of what an object holds. Raises FileNotFoundError."""
        with self._faults(name), self._filesystem.open(self._at(name), "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[reportArgumentType]

    def listing(self, folder: str = "") -> dict[str, ObjectFacts]:
        """Name → facts of every object, or of those below a folder."""
        with self._faults(folder):
            try:
                found = self._filesystem.find(self._at(folder) if folder else self._root, detail=True)
            except FileNotFoundError as error:
                self._require_bucket(error)
                return {}
        start = len(self._root) + 1
        return {path[start:]: ObjectFacts(int(info["size"]), _modified(info)) for path, info in found.items()}

    def delete(self, names: Iterable[str]) -> None:
        def remove(name: str) -> None:
            with self._faults(name), suppress(FileNotFoundError):
                self._filesystem.rm_file(self._at(name))

        self.each(remove, names)

    def each(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """function(item) for each, several requests at a time, in order; the first error is raised."""
        items = list(items)
        if len(items) <= 1:
            return [function(item) for item in items]
        pool = ThreadPoolExecutor(min(REQUESTS, len(items)), thread_name_prefix="objects")
        try:
            return list(pool.map(function, items))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url}  # a worker opens connections of its own

    @cached_property
    def _filesystem(self) -> Any:
        return self._opened[0]

    @cached_property
    def _root(self) -> str:
        return str(self._opened[1]).rstrip("/")

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        protocol = self.url.partition("://")[0]
        options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
        if protocol in ("s3", "s3a"):
            attempts = int(os.environ.get("AWS_MAX_ATTEMPTS", ATTEMPTS))
            retries = {"mode": "standard", "max_attempts": attempts}
            options["config_kwargs"] = {"retries": retries, "connect_timeout": CONNECT_S, "read_timeout": READ_S}
        elif protocol in ("file", "local"):
            options["auto_mkdir"] = True
        elif protocol == "memory":
            options = {}  # its objects belong to the class
        try:
            return url_to_fs(self.url, **options)
        except (ImportError, ValueError) as error:
            hint = "`pip install 'gristmill[s3]'`" if protocol.startswith("s3") else f"the fsspec package of {protocol}"
            raise ValueError(f"{self.url} cannot be opened ({error}); it needs {hint}") from error

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    @property
    def _is_folder(self) -> bool:
        return self.url.startswith(("file://", "local://"))

    def _rename_into(self, name: str, content: bytes) -> None:
        self._temporary(name, content).replace(self._at(name))

    def _link_into(self, name: str, content: bytes) -> None:
        temporary = self._temporary(name, content)
        try:
            os.link(temporary, self._at(name))  # unlike a rename it fails where there is one
        finally:
            temporary.unlink()

    def _temporary(self, name: str, content: bytes) -> Path:
        path = Path(self._at(f"{name}.{uuid.uuid4().hex[:8]}.tmp"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def _require_bucket(self, error: FileNotFoundError) -> None:
        """That an object is not there is an answer; that its bucket is not is a mistake."""
        if _code(error) == "NoSuchBucket":
            raise StoreUnavailable(
                f"{self.url}: there is no such bucket; create it, or correct GRISTMILL_STORE"
            ) from None

    @contextmanager
    def _faults(self, name: str) -> Iterator[None]:
        """Each store has exceptions of its own, from botocore's to aiohttp's."""
        try:
            yield
        except (FileNotFoundError, FileExistsError, StoreUnavailable):
            raise
        except PermissionError as error:
            raise StoreUnavailable(
                f"{self.url} does not let us in ({_told(error)}); are the credentials in the environment or in ~/.aws "
                "those of this store, and may they read, write, list and delete there?"
            ) from None
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise  # of the disk here
            if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
                raise StoreUnavailable(
                    f"{self.url}: no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                    "AWS_PROFILE"
                ) from None
            raise StoreUnavailable(
                f"{self.url} does not answer as it should (asked for {name or 'a list'}, {type(error).__name__}: "
                f"{_told(error)}); is its endpoint up, and is AWS_ENDPOINT_URL right? What is done is kept, so the "
                "same command goes on"
            ) from None


def _code(error: Exception) -> str | None:
    """What S3 calls the error."""
    response = getattr(error.__cause__, "response", None) or {}
    return response.get("Error", {}).get("Code")


def _told(error: Exception) -> str:
    """What an error says, on one line and without what is secret."""
    text = " ".join(str(error).split())
    for variable in SECRET_VARIABLES:
        if len(secret := os.environ.get(variable, "")) >= 8:  # a shorter one would take common words along
            text = text.replace(secret, "…")
    return text[:300]


def _modified(info: dict[str, Any]) -> datetime | None:
    """Stores call it differently; without a zone it is in UTC."""
    found = next((info[key] for key in ("LastModified", "mtime", "created", "updated") if info.get(key)), None)
    if isinstance(found, str):
        found = datetime.fromisoformat(found)
    if isinstance(found, int | float):
        return datetime.fromtimestamp(found, UTC)
    if isinstance(found, datetime):
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return None
