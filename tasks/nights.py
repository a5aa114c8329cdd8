"""The series of crawls that a run goes on with: which nights there are, and what tonight has to bring."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from gristmill.artifacts import Documents, Signatures
from gristmill.config import PipelineConfig
from gristmill.crawl.nights import Night, Series, next_name, unseen
from tasks.stage import current_session


@dataclass(frozen=True)
class Tonight:
    """What is new, as a configuration of its own."""

    name: str
    config: PipelineConfig
    seen: list[str]


class Nights:
    """The series as one run sees it."""

    def __init__(self, config: PipelineConfig) -> None:
        assert config.nights
        self.config, self.here = config, current_session()
        self.series = Series(self.here.store.root, config.nights.series)
        self.earlier = self.series.nights()

    @property
    def tonight(self) -> Tonight | None:
        """None when there is nothing that no earlier night has brought."""
        new = unseen(self.config.ingest, self.earlier)
        if new is None:
            return None
        # the folders of signatures, which a remote store brings here
        against = [str(self._known(night)) for night in self.earlier]
        dedup = self.config.dedup.model_copy(update={"against": against})
        config = self.config.model_copy(update={"nights": None, "ingest": new.ingest, "dedup": dedup})
        return Tonight(next_name(self.earlier), config, new.seen)

    def _known(self, night: Night) -> Path:
        """Where it lies. Raises BrokenArtifact or FileNotFoundError: `dedup` takes what it says as it stands there."""
        self.here.store.load(night.known)
        return self.here.store.path(night.known)

    def finished(self, tonight: Tonight, documents: Documents, known: Signatures) -> None:
        """Later nights leave out what this one brought; a plan brings nothing."""
        if not self.here.planning:
            night = Night(tonight.name, documents.address, known.address, tonight.seen)
            self.series.add(night, run=self.here.run)


@contextmanager
def nights_of(config: PipelineConfig) -> Iterator[Nights]:
    """Two runs never bring the same night: the second waits, and then finds nothing new."""
    assert config.nights
    here = current_session()
    with nullcontext() if here.planning else Series(here.store.root, config.nights.series).held():
        yield Nights(config)
