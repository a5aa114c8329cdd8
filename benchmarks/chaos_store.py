"""Rows of chaos.py about the object store: moto's S3 over HTTP, slow, refusing, or away, under the flow `data`."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
from chaos_ground import Chaos, Seen
from chaos_place import MICRO, Place, until

from gristmill.objects import Objects
from gristmill.remote_store import RemoteStore

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/remote_store"))

from s3_endpoint import BUCKET, S3Endpoint  # pyright: ignore[reportMissingImports]

SLOW_S = 0.1
LIMIT_S = 900.0
ARGUMENTS = ("run", "data", "--config", str(MICRO), "--set", "resources.workers=2")


class RemotePlace(Place):
    """A home whose artifacts lie at `url`."""

    def __init__(self, home: Path, env: dict[str, str], url: str) -> None:
        super().__init__(home, env)
        self.store = RemoteStore(Objects(url), home / "reader")

    @property
    def root(self) -> Path:
        (found,) = (self.home / ".remote").iterdir()
        return found


@contextmanager
def remote_place(chaos: Chaos, name: str) -> Iterator[tuple[RemotePlace, S3Endpoint]]:
    home = chaos.work / "rows" / name
    shutil.rmtree(home, ignore_errors=True)
    with S3Endpoint() as s3:
        env = {
            "AWS_ENDPOINT_URL": s3.endpoint,
            "AWS_ACCESS_KEY_ID": "miller-ann-0001",
            "AWS_SECRET_ACCESS_KEY": "no-secret-of-anybody",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        os.environ.update(env)
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        place = RemotePlace(home, chaos.env | env | {"GRISTMILL_STORE": s3.url("store")}, s3.url("store"))
        try:
            yield place, s3
        finally:
            for process in place.processes():
                process.kill()
    shutil.rmtree(home)


def slow(number: int, method: str, name: str) -> int | None:
    """Every answer comes 0.1 s late, one after another."""
    time.sleep(SLOW_S)
    return None


def tired(number: int, method: str, name: str) -> int | None:
    """Every third request is answered 503."""
    return 503 if number % 3 == 0 else None


def store_is(fault: Callable[[int, str, str], int | None]) -> Callable[[Chaos], Seen]:
    """It is so all the time; the run has to get through."""

    def inject(chaos: Chaos) -> Seen:
        with remote_place(chaos, f"store-{fault.__name__}") as (place, s3):
            s3.fault = fault
            first = place.end(place.start(*ARGUMENTS), limit_s=LIMIT_S)
            asked = len(s3.requests)
            s3.fault = lambda number, method, name: None
            seconds, faults = recovered(chaos, place)
        faults += [f"exit {first.code}: {first.complaint}"] if first.code else []
        return f"exit {first.code} after {first.seconds:.0f} s and {asked} requests; again: 0", seconds, faults

    return inject


def store_goes_away(chaos: Chaos) -> Seen:
    """It refuses every request from the publishing of `dedup` on."""
    with remote_place(chaos, "store-away") as (place, s3):
        flow = place.start(*ARGUMENTS, AWS_MAX_ATTEMPTS="3")
        until(lambda: any("/dedup-" in name for _, name in list(s3.requests)) or flow.poll() is not None)
        s3.fault = lambda number, method, name: 503
        first = place.end(flow)
        s3.fault = lambda number, method, name: None
        seconds, faults = recovered(chaos, place)
    faults += [] if first.code == 1 else [f"exit {first.code}"]
    return f"exit {first.code}, {first.complaint!r}; again: 0", seconds, faults


def recovered(chaos: Chaos, place: RemotePlace) -> tuple[float, list[str]]:
    """Run again. Returns the seconds, and what is not as in the undisturbed home."""
    again = place(*ARGUMENTS)
    if again.code:
        return again.seconds, [f"the second run ended with {again.code}: {again.complaint}"]
    stages = json.loads((place.root / "last_run.json").read_text())["stages"]
    digests = place.digests({stage["stage"]: stage["key"] for stage in stages})
    faults = [f"{label} has other bytes" for label, digest in digests.items() if digest != chaos.expected[label]]
    left = until(lambda: not place.processes(), limit_s=20, every_s=0.5)
    return again.seconds, faults + place.faults() + ([] if left else ["processes left over"])
