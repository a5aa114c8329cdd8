"""Two processes under torchrun, started as a stage starts them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from gristmill.schema import Resources

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[3]
LAUNCHER = """
import sys
from pathlib import Path
from gristmill.artifacts import Artifact
from gristmill.model.config import ModelConfig
from gristmill.train.config import PretrainRun
from tasks import launch as module
out, run = Path(sys.argv[1]), PretrainRun.model_validate_json(Path(sys.argv[2]).read_text())
class Given:
    def __init__(self, path): self.path = out.parent.parent / path
inputs = {"tokens": Given("tokens"), "tokenizer": Given("tokenizer"), "start": None}
module.launch("gristmill.train.pretrain", out, inputs=inputs, resources=run.resources, distributed=True,
              config=run.config, model=run.model)
"""


def test_an_interrupted_launch_leaves_a_checkpoint_and_a_killed_one_no_orphan(make_run, tmp_path):
    run = make_run(tokens=100_000 * 4 * 12)
    run = run.model_copy(update={"resources": Resources(processes=2, threads=1, device="cpu", parallel="fsdp")})
    (tmp_path / "run.json").write_text(run.model_dump_json())
    (tmp_path / "launcher.py").write_text(LAUNCHER)
    out = tmp_path / "checkpoint" / "draft"
    out.mkdir(parents=True)
    command = [sys.executable, str(tmp_path / "launcher.py"), str(out), str(tmp_path / "run.json")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def steps():
        return {path.name for path in (out / "checkpoints").glob("step-*")}

    def started_and_signalled(number):
        before, deadline = steps(), time.monotonic() + 120
        process = subprocess.Popen(command, env=environment)
        while not steps() - before:
            assert process.poll() is None, f"the launcher ended with {process.returncode}"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) == 3, "torchrun and its two processes"
        process.send_signal(number)
        _, alive = psutil.wait_procs(family, timeout=60)
        process.wait(60)
        assert alive == []

    started_and_signalled(signal.SIGINT)
    logged = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert max(steps()) == f"step-{logged[-1]:08d}", "the last step's checkpoint"
    started_and_signalled(signal.SIGKILL)
