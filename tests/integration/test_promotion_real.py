"""Champion and previous move in a real MLflow registry, which fails at each of the writes once."""

from pathlib import Path

import pytest

from gristmill.promotion.aliases import promote, roll_back, settle
from gristmill.promotion.journal import Journal
from tasks.registry import Registry

pytestmark = pytest.mark.integration


class Failing:
    """MLflow's client; its `fail_at`-th write is done, and its answer lost."""

    def __init__(self, client, fail_at: int) -> None:
        self.client, self.fail_at, self.writes = client, fail_at, 0

    def __getattr__(self, name: str):
        real = getattr(self.client, name)

        def call(*arguments):
            answer = real(*arguments)
            self.writes += name.startswith(("set_", "delete_"))
            if name.startswith(("set_", "delete_")) and self.writes == self.fail_at:
                raise ConnectionError("the answer was lost")
            return answer

        return call


def test_aliases_in_a_real_registry_end_finished_or_undone(tmp_path: Path):
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    assert Registry(client).aliases("m0") == {}
    for fail_at in range(5):
        name = f"m{fail_at}"
        client.create_registered_model(name)
        for number in ("1", "2"):
            tags = {"gristmill.artifact": f"checkpoint/align-{number}"}
            assert client.create_model_version(name, source=str(tmp_path), tags=tags).version in (number, int(number))
        client.set_registered_model_alias(name, "champion", "1")
        journal, sound = Journal(tmp_path, name), Registry(client)
        two = {"model": name, "version": "2", "checkpoint": "checkpoint/align-2"}
        if fail_at in (1, 2, 3):
            with pytest.raises(RuntimeError, match="the answer was lost"):
                promote(Registry(Failing(client, fail_at)), journal, two, over="checkpoint/align-1")
            settle(sound, journal)
            assert sound.aliases(name) in ({"champion": "1"}, {"champion": "2", "previous": "1"})
        assert promote(sound, journal, two, over="checkpoint/align-1") == "promoted"
        assert sound.aliases(name) == {"champion": "2", "previous": "1"}
        assert roll_back(sound, journal, by="Ada") == "1"
        assert sound.aliases(name) == {"champion": "1", "previous": "2"}
        assert sound.tags(name, "2")["gristmill.rolled_back"] == "by Ada"
