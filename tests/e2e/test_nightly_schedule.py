"""Schedules on one machine: a run every minute, night after night; by hand; and what a dead process leaves behind."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from workplace import MICRO, Workplace

from gristmill.crawl.python_docs import write_warcs
from gristmill.crawl.python_docs_config import PythonDocsSource

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

PER_NIGHT = ("ingest", "extract", "signals", "filter", "signatures", "dedup", "known", "decontaminate")
DEPLOYMENTS = """
timezone: Europe/Berlin
deployments:
  - {{name: nightly-crawl, flow: crawl, cron: "* * * * *", settings: {{config: {config}}}}}
  - {{name: maintenance, flow: maintenance, settings: {{backups: 1}}}}
"""
NIGHT = """
extends: {micro}
ingest: {{sources: [{{kind: warc, name: crawl, paths: ["{crawl}/*.warc.gz"]}}]}}
nights: {{series: crawl}}
"""


class Nights:
    """A store whose schedule runs every minute, and the WARC files that come in one by one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.crawl, self.pool = folder, folder / "crawl", folder / "pool"
        self.crawl.mkdir()
        self.pool.mkdir()
        source = PythonDocsSource(name="docs", packages=["stdlib", "numpy"], max_modules=60, pages_per_warc=20)
        write_warcs(source, self.pool)
        self.config = folder / "night.yaml"
        self.config.write_text(NIGHT.format(micro=MICRO, crawl=self.crawl))
        self.deployments = folder / "deployments.yaml"
        self.deployments.write_text(DEPLOYMENTS.format(config=self.config))
        self.work = Workplace(folder / "home")

    def arrives(self, number: int) -> None:
        shutil.copy(sorted(self.pool.glob("*.warc.gz"))[number], self.crawl)

    def runs(self) -> list[dict[str, Any]]:
        """Finished runs, oldest first."""
        return [json.loads(path.read_text()) for path in sorted((self.work.home / "runs").glob("*.json"))]


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    made = Nights(tmp_path_factory.mktemp("nights"))
    made.work.home.mkdir()
    yield made
    made.work("down")


def wait_for(condition: Callable[[], Any], limit_s: float = 240) -> Any:
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.5)
    return found


def states(run: dict[str, Any]) -> dict[str, str]:
    return {stage["stage"]: stage["state"] for stage in run["stages"]}


def test_two_scheduled_nights_each_bring_what_is_new_and_a_third_brings_nothing(nights: Nights):
    nights.arrives(0)
    with scheduled(nights):
        wait_for(lambda: len(nights.runs()) == 1)
        nights.arrives(1)
        wait_for(lambda: any("ingest[n0002]" in states(run) for run in nights.runs()))
        wait_for(lambda: "built" not in states(nights.runs()[-1]).values())
    first, *others = nights.runs()
    second = next(run for run in others if "ingest[n0002]" in states(run))
    last = others[-1]
    assert [run["error"] for run in nights.runs()] == [None] * len(nights.runs())
    one, two = ({f"{stage}[{night}]" for stage in PER_NIGHT} for night in ("n0001", "n0002"))
    assert {label for label, state in states(first).items() if state == "built"} == {*one, "examples", "corpus", "mix"}
    assert {label for label, state in states(second).items() if state == "built"} == {*two, "corpus", "mix"}
    assert set(states(second).values()) == {"built", "reused"}
    assert set(states(last)) == {"dedup[n0001]", "dedup[n0002]", "decontaminate[n0001]", "decontaminate[n0002]"} | {
        "examples",
        "corpus",
        "mix",
    }
    report = json.loads((nights.work.home / last["stages"][-2]["key"] / "report.json").read_text())
    assert list(report["details"]["nights"]) == ["n0001", "n0002"]


@contextmanager
def scheduled(nights: Nights) -> Iterator[None]:
    """`gristmill schedule` goes on inside the block."""
    said = nights.folder / "schedule.log"
    with said.open("w") as log:
        command = [sys.executable, "-m", "flows.cli.main", "schedule", "--deployments", str(nights.deployments)]
        process = subprocess.Popen(command, env=nights.work.env, stdout=log, stderr=log)
        try:
            yield
            assert process.poll() is None, said.read_text()
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)


ASK = """
import sys
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    print(client.read_flow_run(sys.argv[1]).state.name)
"""


def state_in_prefect(nights: Nights, flow_run: str) -> str:
    api = {"PREFECT_API_URL": f"{nights.work.server('prefect')}/api", "PREFECT_HOME": str(nights.folder / "client")}
    command = [sys.executable, "-c", ASK, flow_run]
    return subprocess.run(command, env=nights.work.env | api, capture_output=True, text=True, check=True).stdout.strip()


def test_a_run_that_was_killed_shows_crashed_within_minutes_and_the_next_one_goes_on(nights: Nights):
    nights.arrives(2)
    killed = nights.work.start("run", "crawl", "--config", str(nights.config))
    alive, drafts = nights.work.home / ".alive", nights.work.home / ".drafts"
    try:
        (mark,) = wait_for(lambda: list(alive.glob("[!.]*")))
        wait_for(lambda: list(drafts.glob("*")))
    finally:
        killed.kill()
        killed.communicate()
    before = time.monotonic()
    wait_for(lambda: state_in_prefect(nights, mark.name) == "Crashed", limit_s=150)
    assert time.monotonic() - before < 120
    nights.work("run", "crawl", "--config", str(nights.config))
    built = [label for label, state in states(nights.runs()[-1]).items() if state == "built"]
    assert len([label for label in built if label.startswith("known[")]) == 1
    assert list(alive.glob("[!.]*")) == []
