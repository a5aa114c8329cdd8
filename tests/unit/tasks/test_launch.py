import psutil
import pytest

from gristmill.schema import Resources
from gristmill.train.config import PretrainConfig
from tasks import launch as launch_module
from tasks.launch import launch, torchrun

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "child" not in sys.argv:
    subprocess.Popen([sys.executable, __file__, "child"], start_new_session=True)
print("ready", file=sys.stderr, flush=True)
time.sleep(600)
"""


def test_one_process_needs_no_torchrun():
    assert torchrun(Resources(), 0) == []


def test_processes_of_one_machine_meet_by_themselves():
    assert torchrun(Resources(processes=2), 0)[2:] == ["--nproc-per-node=2", "--standalone"]


def test_machines_meet_at_the_rendezvous_each_with_its_number():
    resources = Resources(processes=4, nodes=2, rendezvous="10.0.0.1:29500")
    meeting = ["--nproc-per-node=4", "--nnodes=2", "--master-addr=10.0.0.1", "--master-port=29500"]
    for node in (0, 1):
        assert sorted(torchrun(resources, node)[2:]) == sorted([*meeting, f"--node-rank={node}"])


@pytest.mark.parametrize("fields", [{"nodes": 2}, {"rendezvous": "10.0.0.1:29500"}])
def test_several_machines_need_a_place_to_meet_and_one_needs_none(fields):
    with pytest.raises(ValueError, match="several machines need a HOST:PORT to meet at, and one machine needs none"):
        Resources(**fields)


def test_a_program_that_does_not_stop_is_killed_with_what_it_started(tmp_path, monkeypatch):
    out = tmp_path / "checkpoint" / "draft"
    out.mkdir(parents=True)
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    family: list[psutil.Process] = []
    others = {process.pid for process in psutil.Process().children(recursive=True)}  # of earlier tests

    def interrupted(stderr, _log):
        while len(family) < 2:  # both have said that they are ready
            assert stderr.readline() == "ready\n"
            family.append(psutil.Process())
        now = psutil.Process().children(recursive=True)
        family[:] = [process for process in now if process.pid not in others]
        raise KeyboardInterrupt

    monkeypatch.setattr(launch_module, "relay", interrupted)
    monkeypatch.setattr(launch_module, "GRACE_S", 0.3)
    with pytest.raises(KeyboardInterrupt):
        launch("stubborn", out, inputs={}, resources=Resources(), config=PretrainConfig())
    assert len(family) == 2
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []


ASKED = """
import pathlib, signal, subprocess, sys, time
note = pathlib.Path(__file__).with_name(sys.argv[1] + ".asked")
signal.signal(signal.SIGTERM, lambda *_: (note.touch(), sys.exit(1)))
if sys.argv[1] != "helper":
    subprocess.Popen([sys.executable, __file__, "helper"])
print("ready", file=sys.stderr, flush=True)
time.sleep(600)
"""


def test_the_program_is_asked_to_stop_and_its_helpers_are_not(tmp_path, monkeypatch):
    """Those that compile for it, say: without them it could not take the step that it is in."""
    out = tmp_path / "checkpoint" / "draft"
    out.mkdir(parents=True)
    (tmp_path / "asked.py").write_text(ASKED)

    def interrupted(stderr, _log):
        for _ in range(2):
            assert stderr.readline() == "ready\n"
        raise KeyboardInterrupt

    monkeypatch.setattr(launch_module, "relay", interrupted)
    with pytest.raises(KeyboardInterrupt):
        launch("asked", out, inputs={}, resources=Resources(), config=PretrainConfig())
    assert [path.name for path in tmp_path.glob("*.asked")] == ["--config.asked"]
