"""A registry with MLflow's client interface that fails where it is told to, before or after doing what was asked."""

from types import SimpleNamespace

import pytest

from gristmill.promotion.journal import Journal
from tasks.registry import Registry


class Client:
    """The calls of MlflowClient that aliases need. `fail_at`: which call fails, from 1; `done`: after its work."""

    def __init__(self) -> None:
        self.aliases: dict[str, str] = {}
        self.versions: dict[str, dict[str, str]] = {}
        self.calls, self.fail_at, self.done = 0, 0, False

    def _call(self, change) -> None:
        self.calls += 1
        if self.calls == self.fail_at and not self.done:
            raise ConnectionError("the registry is away")
        change()
        if self.calls == self.fail_at:
            raise ConnectionError("the registry went away before it answered")

    def get_registered_model(self, name: str) -> SimpleNamespace:
        self._call(lambda: None)
        return SimpleNamespace(aliases=dict(self.aliases))

    def get_model_version(self, name: str, version: str) -> SimpleNamespace:
        self._call(lambda: None)
        return SimpleNamespace(tags=dict(self.versions[version]))

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        self._call(lambda: self.aliases.update({alias: version}))

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        self._call(lambda: self.aliases.pop(alias))

    def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        self._call(lambda: self.versions[version].update({key: value}))


@pytest.fixture
def client() -> Client:
    """Three versions; 1 is champion, nothing is previous."""
    made = Client()
    made.versions = {str(n): {"gristmill.artifact": f"checkpoint/align-{n}"} for n in (1, 2, 3)}
    made.aliases = {"champion": "1"}
    return made


@pytest.fixture
def registry(client: Client) -> Registry:
    return Registry(client)


@pytest.fixture
def journal(tmp_path) -> Journal:
    return Journal(tmp_path, "gristmill")
