"""The same bytes whoever does the work: one hash of the data half for each way of running it.

    python benchmarks/determinism.py [--data ../shared/data] [--files 8] [--json]

The flow `data` (ingest to tokenize) reads two packed WARC files, cut into `--files` files each so that there are shards
to hand out. It runs with one local worker, with two, with its shards in shuffled order, killed with SIGKILL once in
every stage that hands out shards and run again, in a store that has the shards of one of the two already, and on a Ray
cluster of two nodes on this machine, of which one is killed while it extracts a shard.

A hash is the sha256 over address, name and sha256 of every file of every artifact. `record.json` is left out: it says
when, by which run and in how many seconds. A stand-in for Prefect calls each task at once, so that no server is needed;
store, drafts and stages are those of `gristmill run`. Takes some fifteen minutes on two busy cores.
"""

import argparse
import atexit
import hashlib
import json
import os
import random
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import types
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

WARCS = ("docs-ukrainian-00000.warc.gz", "docs-multilingual-00000.warc.gz")
LANGUAGES = ["de", "en", "fr", "ja", "ru", "uk"]
COMMIT = re.compile(r"([a-z]+-)*[0-9]{5}")
"""Names of finished shards in the `.done` folder of a draft."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with web/packed")
    parser.add_argument("--files", type=int, default=8, help="files that each packed WARC file is cut into")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(run_flow(json.loads(arguments.child.read_text()))))
        return
    with tempfile.TemporaryDirectory(prefix="determinism-") as folder:
        crawl = Path(folder) / "crawl"
        for name in WARCS:
            cut(arguments.data / "web" / "packed" / name, crawl, arguments.files)
        results = {
            setting: run(Path(folder), crawl)
            for setting, run in {
                "1 local worker": with_workers(1),
                "2 local workers": with_workers(2),
                "shuffled shards": with_workers(2, shuffle_seed=1),
                "killed and resumed": killed_and_resumed,
                "half seen before": half_seen_before,
                "Ray, a node killed": on_ray,
            }.items()
        }
    hashes = {setting: result["hash"] for setting, result in results.items()}
    summary = {"hashes": hashes, "equal": len(set(hashes.values())) == 1, "results": results}
    print(json.dumps(summary) if arguments.json else table(summary))
    sys.exit(0 if summary["equal"] else 1)


def cut(warc: Path, folder: Path, files: int) -> None:
    """Divide a WARC file between records, without touching a byte of them."""
    from warcio.archiveiterator import ArchiveIterator

    with warc.open("rb") as stream:
        records = ArchiveIterator(stream)
        starts = [records.get_record_offset() for _ in records]
    content = warc.read_bytes()
    bounds = [*(starts[len(starts) * number // files] for number in range(files)), len(content)]
    folder.mkdir(exist_ok=True)
    for number in range(files):
        part = content[bounds[number] : bounds[number + 1]]
        (folder / f"{warc.name.partition('.')[0]}-{number:02d}.warc.gz").write_bytes(part)


Run = Callable[[Path, Path], dict[str, Any]]


def with_workers(workers: int, *, shuffle_seed: int | None = None) -> Run:
    def run(work: Path, crawl: Path) -> dict[str, Any]:
        started = time.monotonic()
        name = f"workers{workers}" + ("" if shuffle_seed is None else "-shuffled")
        child = start(work / name, crawl, {"workers": workers}, shuffle_seed=shuffle_seed)
        return finish(child) | {"seconds": time.monotonic() - started}

    return run


def killed_and_resumed(work: Path, crawl: Path) -> dict[str, Any]:
    """SIGKILL to the whole process group when a stage has finished its first shard, once a stage; then start again."""
    started, store = time.monotonic(), work / "killed"
    kills: dict[str, str] = {}
    while True:
        child = start(store, crawl, {"workers": 2})
        while child.poll() is None:
            draft = next((draft for draft in drafts(store) if stage_of(draft) not in kills and commits(draft)), None)
            if draft:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                kills[stage_of(draft)] = f"after {len(commits(draft))} shards"
                print(f"killed in {stage_of(draft)} {kills[stage_of(draft)]}", file=sys.stderr)
                break
            time.sleep(0.005)
        else:
            return finish(child) | {"seconds": time.monotonic() - started, "killed": kills}


def half_seen_before(work: Path, crawl: Path) -> dict[str, Any]:
    """An earlier crawl had the files of the second WARC file; their shards are taken from its artifacts."""
    started, store = time.monotonic(), work / "incremental"
    finish(start(store, crawl, {"workers": 2}, files=f"{WARCS[1].partition('.')[0]}-*"))
    before = kept_shards(store)
    result = finish(start(store, crawl, {"workers": 2}))
    added = {stage: count - before[stage] for stage, count in kept_shards(store).items()}
    note = {stage: f"{count} shards new" for stage, count in sorted(added.items())}
    return result | {"seconds": time.monotonic() - started, "reused": note}


def kept_shards(store: Path) -> Counter[str]:
    return Counter(folder.parent.name.rpartition("-")[0] for folder in (store / ".shards").glob("*/*"))


def on_ray(work: Path, crawl: Path) -> dict[str, Any]:
    """Two nodes of one CPU each; the second is killed while a shard of `extract` runs on it and others are done."""
    from gristmill.ray_engine import JOINING, SETTINGS

    os.environ |= SETTINGS | JOINING | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    from ray.cluster_utils import Cluster

    started, store = time.monotonic(), work / "ray"
    node: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100_000_000}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    try:
        doomed = cluster.add_node(**node)
        cluster.wait_for_nodes()
        child = start(store, crawl, {"engine": "ray", "ray_address": cluster.address, "workers": 1})
        lost = None
        while child.poll() is None and lost is None:
            shard = shard_on(doomed)
            done = sum(len(commits(draft)) for draft in drafts(store) if stage_of(draft) == "extract")
            if shard and done >= 2:
                cluster.remove_node(doomed, allow_graceful=False)
                lost = f"shard {shard} of extract after {done} shards"
                print(f"killed a node with {lost}", file=sys.stderr)
            time.sleep(0.05)
        result = finish(child)
        assert lost, "the flow was done before the node had anything to do"
        return result | {"seconds": time.monotonic() - started, "killed": {"node": lost}}
    finally:
        cluster.shutdown()


def shard_on(node: Any) -> str | None:
    """The shard that a worker of this node has in hand."""
    import psutil

    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    for worker in raylet.children():
        if found := re.match(r"ray::([0-9]{5})", " ".join(worker.cmdline())):
            return found[1]
    return None


def drafts(store: Path) -> list[Path]:
    return sorted((store / ".drafts").glob("*")) if store.is_dir() else []


def stage_of(draft: Path) -> str:
    return draft.name.partition(".")[2].rpartition("-")[0]


def commits(draft: Path) -> list[str]:
    done = draft / ".done"
    try:
        return [path.name for path in done.iterdir() if COMMIT.fullmatch(path.name)]
    except FileNotFoundError:
        return []


def start(
    store: Path, crawl: Path, resources: dict[str, Any], *, shuffle_seed: int | None = None, files: str = "*"
) -> "subprocess.Popen[str]":
    """The flow in a process group of its own."""
    store.mkdir(exist_ok=True)
    paths = [f"{crawl}/{files}.warc.gz"]
    asked = {"store": str(store), "paths": paths, "resources": resources, "shuffle_seed": shuffle_seed}
    request = store.with_suffix(".json")
    request.write_text(json.dumps(asked))
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
    child = subprocess.Popen(
        [sys.executable, __file__, "--child", str(request)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment | {"TOKENIZERS_PARALLELISM": "false"},
        start_new_session=True,
    )
    atexit.register(end, child)
    return child


def end(child: "subprocess.Popen[str]") -> None:
    """Leave nothing behind when this program is interrupted."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)


def finish(child: "subprocess.Popen[str]") -> dict[str, Any]:
    out, _ = child.communicate()
    if child.returncode != 0:
        raise SystemExit(f"the flow failed with exit code {child.returncode}; what it said is above")
    return json.loads(out.splitlines()[-1])


def run_flow(asked: dict[str, Any]) -> dict[str, Any]:
    """In the child: build everything, and hash it."""
    stand_in_for_prefect()
    if asked["shuffle_seed"] is not None:
        shuffle_shards(asked["shuffle_seed"])
    from flows.data import data
    from gristmill.config import PipelineConfig
    from gristmill.schema import Resources
    from gristmill.store import ArtifactStore
    from tasks.stage import Session, session

    config = PipelineConfig.model_validate(
        {
            "ingest": {"sources": [{"kind": "warc", "name": "docs", "paths": asked["paths"]}]},
            "extract": {"languages": LANGUAGES},
            "examples": {"source": {"max_modules": 150}, "benchmark_items": 100, "min_benchmark_items": 10},
            "train_tokenizer": {"vocab_size": 4096},
        }
    )
    resources = Resources.model_validate(asked["resources"])
    here = Session(store=ArtifactStore(Path(asked["store"])), planning=False, run="determinism", resources=resources)
    with session(here):
        data(config)
    stages = {}
    for step in here.steps:
        assert step.record is not None
        assert step.report is not None
        lines = sorted(f"{step.address} {entry.path} {entry.sha256}" for entry in step.record.files)
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        stages[step.label] = {"hash": digest, "rows_in": step.report.rows_in, "rows_out": step.report.rows_out}
    whole = hashlib.sha256("\n".join(stage["hash"] for stage in stages.values()).encode()).hexdigest()
    return {"hash": whole, "stages": stages}


def stand_in_for_prefect() -> None:
    def task(**_: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        return lambda function: function

    names: dict[str, dict[str, Any]] = {
        "prefect": {"task": task},
        "prefect.cache_policies": {"NO_CACHE": None},
        "prefect.states": {"Completed": lambda **_: None},
    }
    for name, contents in names.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(contents)


def shuffle_shards(seed: int) -> None:
    """Hand shards out in an order that is not theirs."""
    from gristmill import shards

    in_order, generator = shards._run, random.Random(seed)

    def shuffled(function: Any, given: Any, *arguments: Any) -> Any:
        return in_order(function, generator.sample(given, len(given)), *arguments)

    shards._run = shuffled


def table(summary: dict[str, Any]) -> str:
    lines = [f"{'setting':<20}  {'seconds':>7}  hash of all files  what happened"]
    for setting, result in summary["results"].items():
        notes = [f"killed: {what} {when}" for what, when in result.get("killed", {}).items()]
        notes += [f"{stage}: {what}" for stage, what in result.get("reused", {}).items()]
        lines.append(f"{setting:<20}  {result['seconds']:>7.0f}  {result['hash'][:16]}   {'; '.join(notes)}")
    first = next(iter(summary["results"].values()))["stages"]
    rows = ", ".join(f"{label} {stage['rows_in']:,} → {stage['rows_out']:,}" for label, stage in first.items())
    for label in first:
        different = {result["stages"][label]["hash"] for result in summary["results"].values()}
        if len(different) > 1:
            lines.append(f"{label} differs: {len(different)} different results")
    return "\n".join([*lines, f"all equal: {'yes' if summary['equal'] else 'NO'}", f"rows: {rows}"])


if __name__ == "__main__":
    main()
