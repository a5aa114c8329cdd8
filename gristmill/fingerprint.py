"""Digests of files outside the artifact store, remembered across runs: `gristmill plan` must not read gigabytes."""

import hashlib
import json
import os
from pathlib import Path

from gristmill.errors import NotHere


def file_sha256(path: Path) -> str:
    """Digest of a local file, remembered for as long as its place, size, time of change and inode stay."""
    stat = path.stat()
    key = json.dumps([str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino])
    memory = cache_folder() / "sha256.json"
    known = _read(memory)
    if key not in known:
        digest = read_sha256(path)
        # read again: another process may have added entries meanwhile; what the last writer loses is a shortcut only
        known = _read(memory) | {key: digest}
        memory.parent.mkdir(parents=True, exist_ok=True)
        temporary = memory.with_name(f"{memory.name}.{os.getpid()}")
        temporary.write_text(json.dumps(known, indent=0))
        temporary.replace(memory)
    return known[key]


def content_digest(path: Path) -> str:
    """Digest of a file that a configuration names. Raises NotHere when it cannot be read."""
    try:
        return file_sha256(path)
    except OSError as error:
        raise NotHere(f"cannot read {path} ({error.strerror}); correct the path in the configuration") from error


def read_sha256(path: Path) -> str:
    """Digest of what a local file holds now."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """Where gristmill keeps what can be computed or fetched again."""
    home = os.environ.get("GRISTMILL_HOME")
    if home:
        return Path(home) / "cache"
    import platformdirs

    return platformdirs.user_cache_path("gristmill")


def _read(path: Path) -> dict[str, str]:
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
