"""Where failures are injected, and what is not as it is without one: for the rows of chaos.py."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from chaos_mlflow import Mlflow
from chaos_place import MICRO, Ended, Place, Server, until

from gristmill.promotion.journal import Journal

Seen = tuple[str, float, list[str]]
"""What was seen, the seconds to recover, and what was wrong: nothing, where the row passed."""


@dataclass
class Chaos:
    """Where failures are injected: two undisturbed homes, and servers that all rows share one after another."""

    work: Path
    env: dict[str, str]
    undisturbed: Place
    undisturbed_again: Place
    servers: Place
    prefect: Server
    mlflow: Server

    @cached_property
    def expected(self) -> dict[str, str | None]:
        """Stage → digest of what it makes."""
        return self.undisturbed.digests(self.undisturbed.keys())

    @property
    def registry(self) -> Mlflow:
        return Mlflow(self.mlflow.url)

    def stop(self) -> None:
        for server in (self.prefect, self.mlflow):
            server.kill()  # rows bring them back as processes that no pid file names
        self.servers("down")

    @contextmanager
    def place(self, name: str) -> Iterator[Place]:
        """A copy of the undisturbed home, for one row."""
        home = self.work / "rows" / name
        place = Place.copied(self.undisturbed, home, self.env)
        try:
            yield place
        finally:
            for process in place.processes():
                process.kill()
        shutil.rmtree(home)

    def recovered(self, place: Place, *, model: str = "undisturbed") -> tuple[float, list[str]]:
        """Run again, undisturbed. Returns the seconds, and what is not as it is without a failure."""
        again = place(*run(model))
        if again.code:
            return again.seconds, [f"the second run ended with {again.code}: {again.complaint}"]
        return again.seconds, self.differences(place, model)

    def differences(self, place: Place, model: str) -> list[str]:
        """What is not as after an undisturbed run, of the artifacts, the registry, the journal and the processes."""
        digests = place.digests(place.keys())
        faults = [f"{label} has other bytes" for label, digest in digests.items() if digest != self.expected[label]]
        faults += [f"no {label}" for label in self.expected.keys() - digests.keys()]
        faults += place.faults()
        faults += self.registry.faults(model)
        moves = [entry["event"] for entry in Journal(place.home, model).read()].count("done")
        faults += [f"{moves} promotions of {model}"] if moves != 1 else []
        left = until(lambda: not place.processes(), limit_s=20, every_s=0.5)
        return faults + ([] if left else [f"left over: {[process.cmdline() for process in place.processes()]}"])


def run(model: str = "undisturbed") -> tuple[str, ...]:
    return ("run", "--config", str(MICRO), "--set", "resources.workers=2", "--set", f"register.model={model}")


def told(ended: Ended) -> str:
    how = f"exit {ended.code}" if ended.code >= 0 else signal.Signals(-ended.code).name
    return how if ended.code <= 0 else f"{how}, {ended.complaint!r}"


def in_training(place: Place, flow: subprocess.Popen[str]) -> None:
    """Return amid pretraining."""
    draft = place.draft(place.keys()["pretrain"])
    found = until(lambda: (draft / "metrics.jsonl").exists() or flow.poll() is not None)
    assert found, "pretraining did not begin"
    assert flow.poll() is None, "the run ended before pretraining"
