"""The shard cache of a remote store: `.shards/<stage>-<fingerprint>/<key>.json`, which names the files by their sha256.

The files are kept where those of artifacts are, so a shard that is in ten artifacts and in the cache is stored once.
"""

from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from gristmill.fingerprint import read_sha256
from gristmill.objects import DamagedObject, Objects
from gristmill.shard_cache import FOLDER, PureShard, ShardCache, ShardEntry, shard_key


@dataclass(frozen=True)
class RemoteShardCache(ShardCache):
    """The results of one stage under one fingerprint; `folder` is a name on this machine and holds nothing."""

    objects: Objects = field(kw_only=True)

    def take(self, shard: PureShard) -> dict[str, Any] | None:
        """Put the shard's files in place and return its summary; None when there is no whole entry."""
        content = None if self.fresh else self.objects.read(self._name(shard))
        if content is None:
            return None
        try:
            entry = ShardEntry.model_validate_json(content)
            for sha256, target in zip(entry.sha256, shard.files, strict=True):
                self.objects.fetch(sha256, target)
        except (ValidationError, ValueError, FileNotFoundError, DamagedObject):  # half an entry, or gc was here
            return None
        return entry.summary

    def put(self, shard: PureShard, summary: dict[str, Any]) -> None:
        """Keep what a shard has just written: its files first, then the entry that names them."""
        entry = ShardEntry(sha256=[read_sha256(path) for path in shard.files], summary=summary)
        name = self._name(shard)
        replaced = self.objects.size(name) is not None  # refreshed, or what it names is not whole
        for path, sha256 in zip(shard.files, entry.sha256, strict=True):
            self.objects.keep(path, sha256, anew=replaced)
        self.objects.write(name, entry.model_dump_json().encode())

    def _name(self, shard: PureShard) -> str:
        return f"{FOLDER}/{self.folder.name}/{shard_key(shard)}.json"
