"""The series of crawls that a run goes on with: which nights there are, and what tonight has to bring."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from gristmill.artifacts import Documents, Signatures, Warcs
from gristmill.config import PipelineConfig
from gristmill.crawl.nights import Night, Series, next_name, unseen
from gristmill.crawl.stored_nights import StoredSeries
from gristmill.dedup.config import SIGNATURES_INDEX
from gristmill.errors import NotHere
from gristmill.remote_store import RemoteStore
from gristmill.store import ArtifactStore
from tasks.stage import current_session

STAGES = ("ingest", "extract", "signals", "filter", "signatures", "dedup", "known")
"""Of each night, in order; with their settings it can be built again."""


@dataclass(frozen=True)
class Tonight:
    """What is to be built, as a configuration of its own."""

    name: str
    config: PipelineConfig
    seen: list[str]
    warcs: str | None = None
    """Address of its WARC files, where they are in the store and so need not be brought again."""


class Nights:
    """The series as one run sees it."""

    def __init__(self, config: PipelineConfig) -> None:
        assert config.nights
        self.config, self.here = config, current_session()
        self.series = _series(self.here.store, config.nights.series)
        self.earlier = self.series.nights()

    @property
    def tonight(self) -> Tonight | None:
        """None when there is nothing that no earlier night has brought."""
        new = unseen(self.config.ingest, self.earlier, warn=self.here.warn)
        if new is None:
            return None
        config = self.config.model_copy(update={"nights": None, "ingest": new.ingest})
        return Tonight(next_name(self.earlier), self._against(config, self.earlier), new.seen)

    def holds(self, night: Night) -> bool:
        """Whether it is whole, and no --refresh names a stage of it."""
        if any(self._refreshes(stage, night) for stage in STAGES):
            return False
        return all(self.here.store.find(address) for address in (night.documents, night.known))

    def again(self, night: Night) -> Tonight:
        """The night as it was, to go through its stages again. Raises NotHere where nobody knows how it was."""
        if night.config is None:
            raise NotHere(
                f"{night.documents} or {night.known} of the night {night.name} is not (whole) in {self.here.store}, or "
                "is to be refreshed, and the gristmill that built it did not keep its settings; bring the folder back "
                "from a copy of the store, or begin another series (nights.series)"
            )
        before = self.earlier[: self.earlier.index(night)]
        config = self._against(PipelineConfig.model_validate(night.config), before)
        is_here = night.warcs and not self._refreshes("ingest", night) and self.here.store.find(night.warcs)
        return Tonight(night.name, config, night.seen, night.warcs if is_here else None)

    def finished(self, tonight: Tonight, warcs: Warcs, documents: Documents, known: Signatures) -> None:
        """Later nights leave out what this one brought; a plan writes nothing."""
        kept = tonight.config.model_dump(mode="json", include=set(STAGES), exclude={"dedup": {"against"}})
        night = Night(tonight.name, documents.address, known.address, tonight.seen, warcs.address, kept)
        place = next((place for place, each in enumerate(self.earlier) if each.name == night.name), None)
        if not self.here.planning and place is None:
            self.series.add(night, run=self.here.run)
        elif not self.here.planning and place is not None and night != self.earlier[place]:
            self.series.replace(night, run=self.here.run)
        self.earlier = [*self.earlier[:place], night, *(self.earlier[place + 1 :] if place is not None else [])]

    def _refreshes(self, stage: str, night: Night) -> bool:
        return bool({stage, f"{stage}[{night.name}]"} & self.here.refresh)

    def _against(self, config: PipelineConfig, nights: Sequence[Night]) -> PipelineConfig:
        against = [str(self._known(night)) for night in nights]
        return config.model_copy(update={"dedup": config.dedup.model_copy(update={"against": against})})

    def _known(self, night: Night) -> Path:
        """The folder of its signatures. A run has all of it here and whole; the key, and so a plan, needs its index."""
        if self.here.planning:
            return self.here.store.file(night.known, SIGNATURES_INDEX).parent
        self.here.store.load(night.known)
        return self.here.store.path(night.known)


@contextmanager
def nights_of(config: PipelineConfig) -> Iterator[Nights]:
    """Two runs of a machine never bring the same night: the second waits, and then finds nothing new."""
    assert config.nights
    here = current_session()
    with nullcontext() if here.planning else _series(here.store, config.nights.series).held():
        yield Nights(config)


def _series(store: ArtifactStore, name: str) -> Series | StoredSeries:
    return StoredSeries(store.objects, store.root, name) if isinstance(store, RemoteStore) else Series(store.root, name)
