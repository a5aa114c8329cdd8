"""Shards for nodes of a Ray cluster that share no disk with the driver: all files go through the remote artifact store.

A parcel is a pickled shard with every path in it that is a file, or lies in the store's folder, replaced: files by
their sha256, which a node fetches, other places by places in a folder that the node makes for this shard and removes.
What a shard writes is kept as the shard cache keeps it, and the driver takes it from there.
"""

import io
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gristmill.fingerprint import file_sha256
from gristmill.objects import Objects
from gristmill.provenance import installation
from gristmill.remote_shards import RemoteShardCache
from gristmill.shard_cache import PureShard, Reusing
from gristmill.shards import run_here

if TYPE_CHECKING:
    from gristmill.ray_engine import RayEngine


def run_apart(
    engine: "RayEngine", function: Callable[[Any], dict[str, Any]], shards: Sequence[tuple[str, Any]], out: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """As RayEngine.run. Raises ValueError without a remote store."""
    if not isinstance(function, Reusing):
        yield from run_here(function, shards, engine.workers)
        return
    cache = function.cache
    if not isinstance(cache, RemoteShardCache):
        raise ValueError(
            "resources.ray_shared_disk=false needs an artifact store that all nodes reach: set GRISTMILL_STORE to "
            "s3://BUCKET/PREFIX (docs/cluster.md), or let the nodes share a disk"
        )
    wanted: dict[str, PureShard] = {}
    for name, shard in shards:
        kept = cache.take(shard)
        if kept is None:
            wanted[name] = shard
        else:
            yield name, kept | {"reused": True}
    root = _store_folder(out)
    parcels = ((name, _packed(shard, function.function, cache.objects, root)) for name, shard in wanted.items())
    for name, summary in engine.results(_work_apart, cache, parcels):
        if replace(cache, fresh=False).take(wanted[name]) is None:
            raise RuntimeError(f"shard {name} was computed on a node, but {cache.objects.url} does not have it whole")
        yield name, summary


@dataclass(frozen=True)
class _Parcel:
    content: bytes
    """(function, shard), pickled."""


def _packed(shard: PureShard, function: Any, objects: Objects, root: Path) -> _Parcel:
    """Puts the files that the shard names into the store, where they are not there yet."""
    from ray import cloudpickle

    written, (source, source_sha256) = set(shard.files), shard.input

    class Packer(cloudpickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            if not isinstance(obj, Path):
                return None
            place = str(obj.relative_to(root)) if obj.is_relative_to(root) else None
            if obj.is_file() and obj not in written:
                sha256 = source_sha256 if obj == source else file_sha256(obj)
                objects.keep(obj, sha256)
                return ("file", place or f"files/{sha256[:12]}/{obj.name}", sha256)
            return place and ("place", place, None)

    objects.keep(source, source_sha256)
    buffer = io.BytesIO()
    Packer(buffer).dump((function, shard))
    return _Parcel(buffer.getvalue())


def _work_apart(cache: RemoteShardCache, parcel: _Parcel, driver: dict[str, str]) -> dict[str, Any]:
    """What runs on a node."""
    from gristmill.ray_engine import require_same

    require_same(driver, installation())
    with tempfile.TemporaryDirectory(prefix="gristmill-shard-") as scratch:

        class Unpacker(pickle.Unpickler):
            def persistent_load(self, pid: Any) -> Path:
                _, place, sha256 = pid
                path = Path(scratch) / place
                if sha256 and not path.exists():
                    cache.objects.fetch(sha256, path)
                return path

        function, shard = Unpacker(io.BytesIO(parcel.content)).load()
        source, sha256 = shard.input
        if not source.exists():  # named by its folder and its name there
            cache.objects.fetch(sha256, source)
        for path in shard.files:
            path.parent.mkdir(parents=True, exist_ok=True)
        summary = function(shard)
        cache.put(shard, summary)
    return summary


def _store_folder(out: Path) -> Path:
    """The store's folder on this machine, of which `out` or a folder around it is a draft."""
    drafts = next((folder for folder in (out, *out.parents) if folder.name == ".drafts"), None)
    return drafts.parent if drafts else out
