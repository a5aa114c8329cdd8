"""SIGKILL at every request that publishing makes: afterwards the old artifact is there whole, or the new one."""

import os
import signal
from pathlib import Path

import pytest
from machines import RECIPE, Machine, publish
from s3_endpoint import S3Endpoint

from gristmill.objects import Objects
from gristmill.remote_store import RemoteStore

pytestmark = pytest.mark.integration

MAX_REQUESTS = 60


@pytest.mark.parametrize(("there", "moment"), [("old", "before it is carried out"), (None, "before"), ("old", "after")])
def test_a_kill_at_any_request_leaves_the_old_or_the_new_artifact(
    machine: Machine, s3: S3Endpoint, tmp_path: Path, moment: str, there: str | None
):
    observer, outcomes = machine("observer"), []
    for at in range(1, MAX_REQUESTS):
        observer.objects.delete(observer.objects.listing())
        if there:
            publish(observer, there, there)
        survived = kill_at(s3, tmp_path / f"killed-{at}", observer.objects.url, at, moment)
        outcomes.append(state(observer))
        publish(observer, "repaired", "repaired")
        assert state(observer) == "repaired"
        if survived:
            break
    assert outcomes[-1] == "new"
    assert outcomes[:3] == [there] * 3
    assert set(outcomes) == {there, "new"}


def state(reader: RemoteStore) -> str | None:
    """Which content the artifact has. Fails when it is neither whole nor absent."""
    record = reader.find(RECIPE.address)
    if record is None:
        return None
    assert reader.verify(RECIPE.address) == []
    folder = reader.path(RECIPE.address)
    for name in ("a.txt", "deep/b.txt"):
        assert (folder / name).read_text() == f"{record.run} {name}"
    return record.run


def kill_at(s3: S3Endpoint, root: Path, url: str, at: int, moment: str) -> bool:
    """Publish in a process that is killed at its request of this number. True when it had no such request."""
    go, told = os.pipe()
    child = os.fork()  # only this process pays for the imports
    if child == 0:
        try:
            os.read(go, 1)
            publish(RemoteStore(Objects(url), root), "new", "new")
        finally:
            os._exit(0)
    asked = 0

    def kill(*_: object) -> None:
        nonlocal asked
        asked += 1
        if asked == at:
            os.kill(child, signal.SIGKILL)

    if moment == "after":
        s3.after = kill
    else:
        s3.fault = kill  # type: ignore[reportAttributeAccessIssue]
    try:
        os.write(told, b"!")
        _, status = os.waitpid(child, 0)
    finally:
        s3.after, s3.fault = lambda method, name: None, lambda number, method, name: None
        os.close(go)
        os.close(told)
    assert not os.WIFSIGNALED(status) or os.WTERMSIG(status) == signal.SIGKILL
    return not os.WIFSIGNALED(status)
