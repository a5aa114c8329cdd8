"""The rows of chaos.py: each a failure, what is expected of it, and a function that injects it.

A function returns what was seen, the seconds to recover, and what was wrong: nothing, where the row passed.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from chaos_ground import Chaos, Seen, in_training, run, told
from chaos_place import PLANTED, Ended, Place, programs_of, until, workers_of
from chaos_prefect import AWAY_S, cancelled, left_running, prefect_away, told_to_end
from chaos_store import LIMIT_S, slow, store_goes_away, store_is, tired
from publish_sweep import swept

TRAININGS = ("pretrain", "sft", "reward_model", "align", "evaluate[pretrain]", "evaluate[sft]", "evaluate[align]")
POOLS = ("extract", "signals", "filter", "signatures", "tokenize")
ALONE = (
    *("ingest", "dedup", "known", "examples", "decontaminate", "mix", "split", "train_tokenizer"),
    *("register", "promote"),
)


def undisturbed(chaos: Chaos) -> Seen:
    again = chaos.undisturbed_again.digests(chaos.undisturbed_again.keys())
    differ = [label for label, digest in chaos.expected.items() if digest is None or again.get(label) != digest]
    seconds = chaos.undisturbed.last_run()["seconds"]
    return f"{len(again)} stages, the same bytes twice", seconds, [f"{label} differs" for label in differ]


def killed(label: str) -> Callable[[Chaos], Seen]:
    """SIGKILL of the process that does a stage's work: its program, a worker of its pool, or else the flow's own."""

    def inject(chaos: Chaos) -> Seen:
        with chaos.place(f"killed-{label}") as place:
            victim, first = _kill(place, label)
            if label in POOLS and victim == "none":
                place.forget(label)
                victim, first = _kill(place, label, flow_itself=True)
            seconds, faults = chaos.recovered(place)
            if victim == "none":
                return "", seconds, ["the stage was over before anything was killed"]
            built = place.built()
        faults += [f"built again: {built}"] if built not in ([], [label]) else []
        faults += [] if first.code else ["the killed run ended with 0"]
        return f"{victim} killed: {told(first)}; again: 0, built {', '.join(built) or 'nothing'}", seconds, faults

    return inject


def _kill(place: Place, label: str, *, flow_itself: bool = False) -> tuple[str, Ended]:
    address = place.keys()[label]
    place.forget(label)
    shutil.rmtree(place.home / ".shards", ignore_errors=True)
    flow = place.start(*run())
    until(lambda: place.draft(address).exists() or flow.poll() is not None, every_s=0.001)
    victim = "none"
    if label in TRAININGS:
        found = until(lambda: list(programs_of(flow.pid)), limit_s=30)
        time.sleep(4)  # amid imports, training or evaluation
        victim = _send(found[0]) if found else "none"
    elif label in POOLS and not flow_itself:
        found = until(lambda: list(workers_of(flow.pid)) or place.store.find(address) or flow.poll() is not None)
        if isinstance(found, list):
            time.sleep(0.5)
            victim = _send(found[0])
    else:
        victim = _send(psutil.Process(flow.pid))
    return victim, place.end(flow)


def _send(process: psutil.Process, number: signal.Signals = signal.SIGKILL) -> str:
    try:
        parts = [
            part for part in process.cmdline() if part.startswith(("gristmill.", "flows.", "from multiprocessing"))
        ]
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return "none"
    name = parts[0].split()[1] if parts[0].startswith("from") else parts[0]
    return {"flows.cli.main": "the flow", "multiprocessing.spawn": "a worker"}.get(name, name)


def flow_killed(label: str) -> Callable[[Chaos], Seen]:
    """The flow's process alone gets SIGKILL: what it started has to notice."""

    def inject(chaos: Chaos) -> Seen:
        with chaos.place(f"flow-{label}") as place:
            place.forget(label)
            flow = place.start(*run())
            children = programs_of if label in TRAININGS else workers_of
            assert until(lambda: list(children(flow.pid)) or flow.poll() is not None)
            time.sleep(2 if label in TRAININGS else 0.3)
            started = len(place.processes()) - 1
            flow.kill()
            place.end(flow)
            since = time.monotonic()
            gone = until(lambda: not place.processes(), limit_s=70, every_s=0.05)
            took = time.monotonic() - since
            seconds, faults = chaos.recovered(place)
        faults += [] if gone else ["processes outlived it by 70 s"]
        faults += [] if started > 0 else ["it had started no process yet"]
        return f"{started} processes of the flow ended {took:.1f} s after it; again: 0", seconds, faults

    return inject


def mlflow_away_at_start(chaos: Chaos) -> Seen:
    with chaos.place("mlflow-start") as place:
        place.forget("pretrain")
        chaos.mlflow.kill()
        first = place(*run())
        chaos.mlflow.start()
        drafts = list((place.home / ".drafts").iterdir())
        seconds, faults = chaos.recovered(place)
    faults += [] if first.code == 1 and first.seconds < 60 else [f"it ended with {first.code} in {first.seconds:.0f} s"]
    faults += ["something was begun"] if drafts else []
    return f"{told(first)} after {first.seconds:.0f} s; again: 0", seconds, faults


def mlflow_away_in_training(chaos: Chaos) -> Seen:
    with chaos.place("mlflow-middle") as place:
        address = place.keys()["pretrain"]
        place.forget("pretrain", "sft")
        flow = place.start(*run())
        in_training(place, flow)
        chaos.mlflow.kill()
        first = place.end(flow)
        published = place.store.find(address) is not None
        chaos.mlflow.start()
        seconds, faults = chaos.recovered(place)
        rows = (place.store.path(address) / "metrics.jsonl").read_text().count('"loss"')
        delivered = chaos.registry.steps_of(address, "loss")
    faults += [] if published else ["the model was not kept"]
    once = len(delivered) == len(set(delivered)) == rows
    faults += [] if once else [f"{rows} rows of loss, {len(delivered)} in MLflow at {len(set(delivered))} steps"]
    return f"{told(first)}; again: 0, each of {rows} losses in MLflow once", seconds, faults


def mlflow_away_at_registration(chaos: Chaos) -> Seen:
    model = "chaos-registration"
    with chaos.place("mlflow-registration") as place:
        flow = place.start(*run(model))
        until(lambda: list((place.home / ".drafts").glob("registration.*")) or flow.poll() is not None)
        chaos.mlflow.kill()
        first = place.end(flow)
        chaos.mlflow.start()
        seconds, faults = chaos.recovered(place, model=model)
    faults += [] if first.code == 1 else [f"it ended with {first.code}"]
    return f"{told(first)}; again: 0, one version, one champion", seconds, faults


def disk_full(label: str) -> Callable[[Chaos], Seen]:
    """A tmpfs of its own, filled up to 200 kB."""

    def inject(chaos: Chaos) -> Seen:
        home = chaos.work / "rows" / "full"
        home.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", str(home)], check=True)
        try:
            place = Place(home / "home", chaos.env)
            Place.copied(chaos.undisturbed, place.home, chaos.env)
            place.forget(label)
            free = shutil.disk_usage(home).free
            with (home / "filler").open("wb") as filler:
                filler.write(bytes(free - 200_000))
            first = place(*run())
            (home / "filler").unlink()
            seconds, faults = chaos.recovered(place)
        finally:
            subprocess.run(["umount", "-l", str(home)], check=True)
        said = "No space left" in first.said
        faults += [] if first.code == 1 and said else [f"it ended with {first.code}, the disk named: {said}"]
        return f"{told(first)}; again: 0", seconds, faults

    return inject


def damaged(how: str) -> Callable[[Chaos], Seen]:
    """The weights of `pretrain`, cut off or with another byte in the middle."""

    def inject(chaos: Chaos) -> Seen:
        with chaos.place(f"damaged-{how}") as place:
            weights = place.store.path(place.keys()["pretrain"]) / "model.safetensors"
            if how == "truncated":
                os.truncate(weights, weights.stat().st_size // 2)
            else:
                with weights.open("r+b") as file:
                    file.seek(weights.stat().st_size // 2)
                    byte = file.read(1)[0]
                    file.seek(-1, os.SEEK_CUR)
                    file.write(bytes([byte ^ 1]))
            found = place("artifacts", "verify")
            seconds, faults = chaos.recovered(place)
            built = place.built()
        faults += [] if found.code == 1 and "model.safetensors" in found.said else [f"verify: {found.code}"]
        faults += [] if built == ["pretrain"] else [f"built {built}"]
        return f"verify: {found.said.splitlines()[-1][:120]!r}; a hit on it built {', '.join(built)}", seconds, faults

    return inject


def clock_jump(seconds: int) -> Callable[[Chaos], Seen]:
    """The wall clock of the run and its programs moves amid pretraining (chaos_clock.c)."""

    def inject(chaos: Chaos) -> Seen:
        with chaos.place(f"clock{seconds}") as place:
            place.forget("pretrain", "sft")
            library, clock = place.home / "clock.so", place.home / "clock"
            source = Path(__file__).with_name("chaos_clock.c")
            subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
            clock.write_text("0")
            flow = place.start(*run(), LD_PRELOAD=str(library), CHAOS_CLOCK=str(clock))
            in_training(place, flow)
            clock.write_text(str(seconds))
            first = place.end(flow)
            seconds_again, faults = chaos.recovered(place)
        faults += [f"it ended with {told(first)}"] if first.code else []
        return f"exit {first.code}; again: 0", seconds_again, faults

    return inject


def two_schedulers(chaos: Chaos) -> Seen:
    model = "chaos-two"
    with chaos.place("two") as place:
        place.forget("align", "evaluate[align]")
        flows = [place.start(*run(model)) for _ in range(2)]
        ended = [place.end(flow) for flow in flows]
        runs = [path.stem for path in (place.home / "runs").glob("*.json")]
        records = [place.store.find(address) for address in place.keys().values()]
        made = [record.label for record in records if record and record.run in runs[-2:]]
        seconds, faults = chaos.recovered(place, model=model)
    faults += [f"ended with {[told(end) for end in ended]}"] if any(end.code for end in ended) else []
    faults += [f"built twice: {made}"] if len(made) != len(set(made)) else []
    return f"both exit 0, one version, one promotion; {len(runs) - 1} runs remembered", seconds, faults


def secrets_planted(chaos: Chaos) -> Seen:
    """Nothing that commands and servers have left on this disk holds a secret of the environment."""
    with chaos.place("secrets") as place:
        place.forget("split", "pretrain", "evaluate[align]")
        first = place(*run("chaos-secrets"), "--refresh", "sft")
        seconds, faults = chaos.recovered(place, model="chaos-secrets")
        left = [path for folder in (place.home, chaos.servers.home) for path in folder.rglob("*") if path.is_file()]
        read = {path: path.read_bytes() for path in left}
    for name, secret in PLANTED.items():
        faults += [f"{name} in {path}" for path, content in read.items() if secret.encode() in content]
    size = sum(len(content) for content in read.values()) / 1e6
    return f"exit {first.code}; none of {len(PLANTED)} in {len(read)} files, {size:.0f} MB", seconds, faults


def sweep(fault: str) -> Callable[[Chaos], Seen]:
    def inject(chaos: Chaos) -> Seen:
        started = time.monotonic()
        calls, outcomes, faults = swept(chaos.work / "rows" / f"sweep-{fault}", fault)
        counted = ", ".join(f"{outcomes.count(kind)} {kind}" for kind in sorted(set(outcomes)))
        return f"{calls}; the artifact was: {counted}", time.monotonic() - started, faults

    return inject


SAME = "run again: exit 0, the same bytes, one version and one champion, no process left"
SAME_BYTES = "run again: exit 0, the same bytes, no process left"
ROWS: list[tuple[str, str, Callable[[Chaos], Seen]]] = [
    ("none", "two undisturbed runs have the same bytes", undisturbed),
    ("flow killed in extract", f"its workers end with it; {SAME}", flow_killed("extract")),
    ("flow killed in pretrain", f"its program ends with it; {SAME}", flow_killed("pretrain")),
    (
        f"Prefect away for {AWAY_S:.0f} s in pretrain",
        f"exit 0, Prefect: Completed; {SAME}",
        prefect_away(for_good=False),
    ),
    ("Prefect away for good in pretrain", f"it ends by itself within 300 s; {SAME}", prefect_away(for_good=True)),
    ("cancelled in pretrain", f"a checkpoint, no process left, Prefect: Cancelled; {SAME}", cancelled),
    ("told to end in pretrain", f"exit 143, a checkpoint, no process left, Prefect: Crashed; {SAME}", told_to_end),
    ("a worker and its run killed, and a run by hand", f"Prefect: Crashed within 600 s; {SAME}", left_running),
    ("MLflow away at the start", f"exit 1 within 60 s, nothing begun; {SAME}", mlflow_away_at_start),
    ("MLflow away in pretrain", f"the model is kept, metrics arrive once; {SAME}", mlflow_away_in_training),
    ("MLflow away at registration", f"exit 1; {SAME}", mlflow_away_at_registration),
    ("object store slow", f"exit 0 within {LIMIT_S:.0f} s; {SAME_BYTES}", store_is(slow)),
    (
        "object store answers 503 to every third request",
        f"exit 0 within {LIMIT_S:.0f} s; {SAME_BYTES}",
        store_is(tired),
    ),
    ("object store away from dedup on", f"exit 1 with a sentence; {SAME_BYTES}", store_goes_away),
    ("disk full in split", f"exit 1 that names the disk; {SAME}", disk_full("split")),
    ("disk full in pretrain", f"exit 1 that names the disk; {SAME}", disk_full("pretrain")),
    ("artifact truncated", f"verify names it, a hit builds it again; {SAME}", damaged("truncated")),
    ("artifact with a changed byte", f"verify names it, a hit builds it again; {SAME}", damaged("changed")),
    ("clock jumps back 2 hours", f"exit 0; {SAME}", clock_jump(-7200)),
    ("clock jumps ahead 2 hours", f"exit 0; {SAME}", clock_jump(7200)),
    ("secrets in the environment", f"in no file that is left; {SAME}", secrets_planted),
    ("two schedulers start one flow", f"both exit 0, each stage built once; {SAME}", two_schedulers),
    *(
        (f"publishing: every call {fault}", "each time the old or the new artifact, whole", sweep(fault))
        for fault in ("EIO", "ENOSPC", "SIGKILL")
    ),
    *(
        (f"SIGKILL in {label}", f"exit 1 with a sentence, or SIGKILL; {SAME}", killed(label))
        for label in (*ALONE, *POOLS, *TRAININGS)
    ),
]
