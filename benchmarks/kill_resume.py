"""Pretraining killed with SIGKILL at random points and started again, against a run that nobody disturbed.

    python benchmarks/kill_resume.py --kills 60 --results ../kills.jsonl [--previous HEAD~1] [--json]

The real program on Shakespeare's bytes, a small model, checkpoints every fraction of a second. Points are drawn at
random within a phase that is drawn at random: start-up, steps, the writing of a checkpoint, the end (validation and
export). A run is killed until chance lets it finish; then its weights, its optimizer state, its training state (with a
digest over the numbers of all rows in their order) and its loss at every step are compared with the undisturbed run's,
bit by bit. Further: the newest checkpoint of another commit's code is gone on from, and one of two processes (gloo)
by one, with AdamW and with Muon whose Newton-Schulz runs in float32.

A line of the results file is one finished run; kills that it holds are not repeated. Some 7 CPU seconds a kill.
"""

import argparse
import ctypes
import hashlib
import io
import json
import os
import random
import select
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
from byte_tokens import shakespeare, write_byte_tokens

ROOT = Path(__file__).parents[1]
SEQ_LEN, STEPS = 64, 150
CONFIG = {
    "tokens": STEPS * 4 * SEQ_LEN,
    "batch_rows": 4,
    "micro_rows": 4,
    "precision": "fp32",
    "log_every_steps": 1,
    "eval_every_steps": 40,
    "checkpoint_every_s": 0.1,
    # spelled out: another commit may have other defaults
    "optim": {"lr_matrix": 0.02, "lr_embedding": 0.1, "lr_head": 0.003, "lr_norm": 0.003, "weight_decay": 0.0},
    "schedule": {"warmup_steps": 20, "decay_ratio": 0.65},
}
MODEL = {"depth": 2, "width": 32, "head_dim": 16, "heads": 2, "kv_heads": 2, "ffn_width": 96}
PHASES = {"start": 3, "steps": 4, "checkpoint": 4, "end": 2, None: 1}
"""How often each is drawn; None: the run is left to finish."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--results", type=Path, help="JSONL of finished runs; kept between calls")
    parser.add_argument("--previous", default="HEAD~1", help="commit whose checkpoint is gone on from; empty: none")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill-resume-") as name:
        folder = Path(name)
        # a small share of the text is enough, and its validation does not take long
        write_byte_tokens(shakespeare(arguments.data)[:100_000], folder, seq_len=SEQ_LEN)
        undisturbed = folder / "undisturbed"
        started = time.monotonic()
        assert program(folder, undisturbed).wait() == 0
        start_s = time.monotonic() - started
        expected = outcome(undisturbed)
        runs = killed_runs(arguments, folder, expected, start_s)
        ranks = {kind: from_two_ranks_to_one(folder, kind) for kind in ("adamw", "muon")}
        previous = arguments.previous and after_previous_commit(folder, arguments.previous, expected)
    kills = Counter(phase for run in runs for phase in run["kills"])
    summary = {
        "kills": sum(kills.values()),
        "identical": all(run["identical"] for run in runs),
        "runs": len(runs),
        "most_kills_of_a_run": max(len(run["kills"]) for run in runs),
        "kills_by_phase": kills,
        "kills_that_left_a_checkpoint_half_written": sum(run["half_written"] for run in runs),
        "loss_difference_from_2_ranks_to_1": ranks,
        "previous_commit": previous or None,
    }
    print(json.dumps(summary) if arguments.json else json.dumps(summary, indent=2))
    sys.exit(0 if summary["identical"] else 1)


def killed_runs(arguments: argparse.Namespace, folder: Path, expected: dict, start_s: float) -> list[dict[str, Any]]:
    """Finished runs, with as many kills among them as asked for."""
    results = arguments.results or folder / "results.jsonl"
    runs = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    while (missing := arguments.kills - sum(len(run["kills"]) for run in runs)) > 0:
        chance = random.Random(f"{len(runs)}")
        out = folder / f"run-{len(runs)}"
        kills, halves = killed_until_done(folder, out, chance, missing, start_s)
        found = outcome(out)
        different = sorted(name for name in expected if found[name] != expected[name])
        run = {"kills": kills, "half_written": halves, "identical": not different, "different": different}
        runs.append(run)
        with results.open("a") as file:
            file.write(json.dumps(run) + "\n")
        print(json.dumps(run), file=sys.stderr, flush=True)
    return runs


def killed_until_done(
    folder: Path, out: Path, chance: random.Random, most: int, start_s: float
) -> tuple[list[str], int]:
    """Kill and start again until chance lets the program finish. Returns the phases of its kills, and how many of them
    left a checkpoint half written."""
    kills: list[str] = []
    halves = 0
    while True:
        process = program(folder, out)
        phase = chance.choices(list(PHASES), list(PHASES.values()))[0] if len(kills) < most else None
        if phase and reached(phase, out, process, chance, start_s):
            process.kill()
        if process.wait() == -signal.SIGKILL:
            kills.append(str(phase))
            halves += (out / "checkpoints" / ".draft").exists()
        else:
            assert process.returncode == 0, f"exit status {process.returncode}"
            return kills, halves


def reached(phase: str, out: Path, process: subprocess.Popen, chance: random.Random, start_s: float) -> bool:
    """Wait for a random moment of a phase; False when the program ended before."""
    begun = time.time()
    if phase == "start":
        return runs_after(process, chance.uniform(0, start_s))
    metrics, checkpoints = out / "metrics.jsonl", out / "checkpoints"
    while not (metrics.exists() and metrics.stat().st_mtime > begun and metrics.stat().st_size > 0):
        if not runs_after(process, 0.002):
            return False
    if phase == "steps":
        return runs_after(process, chance.uniform(0, 2))
    if phase == "checkpoint":
        if not runs_after(process, chance.uniform(0, 1)):  # not always the first one after the start
            return False
        checkpoints.mkdir(exist_ok=True)
        wait_for_new_entry(checkpoints, seconds=20)  # the draft
        return runs_after(process, chance.uniform(0, 0.02))
    while f'{{"step": {STEPS},' not in metrics.read_text()[-500:]:
        if not runs_after(process, 0.002):
            return False
    return runs_after(process, chance.uniform(0, 0.4))


def wait_for_new_entry(folder: Path, *, seconds: float) -> None:
    """By inotify: a folder that lives for some milliseconds is not found by looking now and then."""
    libc = ctypes.CDLL(None)
    handle = libc.inotify_init()
    try:
        assert libc.inotify_add_watch(handle, bytes(folder), 0x100) > 0  # IN_CREATE
        select.select([handle], [], [], seconds)
    finally:
        os.close(handle)


def runs_after(process: subprocess.Popen, seconds: float) -> bool:
    """Wait; whether the program still runs then."""
    time.sleep(seconds)
    return process.poll() is None


def program(
    folder: Path, out: Path, *, ranks: int = 1, code: Path = ROOT, optim: dict | None = None, leave: bool = True
) -> subprocess.Popen:
    """Start the program; `optim`: settings that replace those of CONFIG."""
    run = {
        "tokens": str(folder / "tokens"),
        "tokenizer": str(folder / "tokenizer"),
        "model": MODEL,
        "config": CONFIG | ({"optim": {**CONFIG["optim"], **optim}} if optim else {}),
        "resources": {"threads": 1, "device": "cpu"},
        **({"leave_checkpoints": True} if leave else {}),
    }
    config = folder / f"{out.name}.yaml"
    config.write_text(json.dumps(run))
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    command = [sys.executable, *torchrun, "-m", "gristmill.train.pretrain", "--config", str(config), "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": str(code)}
    return subprocess.Popen(command, cwd=code, env=environment, stderr=subprocess.DEVNULL)


def outcome(out: Path) -> dict[str, Any]:
    """What must be equal: digests of files, the state of the last checkpoint, the losses."""
    last = out / "checkpoints" / f"step-{STEPS:08d}"
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {
        "weights": sha256(out / "model.safetensors"),
        "checkpoint_weights": sha256(last / "model.safetensors"),
        "optimizer": sha256(last / "optimizer.safetensors"),
        "state_and_data_order": json.loads((last / "state.json").read_text())["state"],
        "losses": [(row["step"], row["loss"], row["grad_norm"]) for row in rows if "loss" in row],
        "validation": [(row["step"], row["bits_per_byte"]) for row in rows if "bits_per_byte" in row],
    }


def from_two_ranks_to_one(folder: Path, kind: str) -> float:
    """Largest difference of a loss from one process's, after two processes were killed half way and one went on."""
    optim = {"kind": kind, "newton_schulz": "fp32"}
    alone, moved = folder / f"alone-{kind}", folder / f"moved-{kind}"
    assert program(folder, alone, optim=optim).wait() == 0
    together = program(folder, moved, ranks=2, optim=optim)
    wait_for_checkpoint(moved, together)
    for process in [*psutil.Process(together.pid).children(recursive=True), psutil.Process(together.pid)]:
        process.kill()
    together.wait()
    assert not (moved / "result.json").exists()
    assert program(folder, moved, optim=optim).wait() == 0
    pairs = zip(outcome(alone)["losses"], outcome(moved)["losses"], strict=True)
    return max(abs(one[1] - other[1]) for one, other in pairs)


def after_previous_commit(folder: Path, commit: str, expected: dict) -> dict[str, Any]:
    """Let another commit's code write a checkpoint, kill it, go on with this code, and compare."""
    archive = subprocess.run(["git", "archive", commit, "gristmill"], cwd=ROOT, check=True, capture_output=True).stdout
    code, out = folder / "previous", folder / "after-previous"
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(code, filter="data")
    earlier = program(folder, out, code=code, leave=False)
    wait_for_checkpoint(out, earlier)
    earlier.kill()
    earlier.wait()
    newest = max((out / "checkpoints").glob("step-*"))
    version = json.loads((newest / "state.json").read_text()).get("format", 1)
    assert program(folder, out).wait() == 0
    found = outcome(out)
    bits = ("weights", "optimizer", "losses", "validation")
    return {
        "commit": subprocess.check_output(["git", "rev-parse", "--short", commit], cwd=ROOT, text=True).strip(),
        "format": version,
        "at_step": int(newest.name.removeprefix("step-")),
        "identical": all(found[name] == expected[name] for name in bits),
    }


def wait_for_checkpoint(out: Path, process: subprocess.Popen) -> None:
    while not any(int(path.name[5:]) > STEPS // 4 for path in (out / "checkpoints").glob("step-*")):
        assert process.poll() is None, f"the program ended with {process.returncode} before its checkpoint"
        time.sleep(0.001)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
