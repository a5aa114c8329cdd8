"""The nights of a series through their real stages: what is damaged is noticed, built again, and loses nothing."""

import json
import random
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.data import every_night
from gristmill.config import PipelineConfig
from gristmill.errors import NotHere
from gristmill.filters.config import Thresholds
from gristmill.objects import Objects
from gristmill.remote_store import RemoteStore
from gristmill.store import ArtifactStore
from gristmill.text.documents import read_documents
from tasks.stage import Session, Step, session

VILLAGES = ("Ayrshire", "Bremen", "Colmar", "Delft", "Exeter", "Faenza", "Ghent", "Haarlem", "Innsbruck", "Jena")


@pytest.fixture(autouse=True)
def without_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect.task", lambda **options: lambda function: function)
    monkeypatch.setattr("tasks.progress_artifact.progress_artifact", lambda label: nullcontext())


class Mill:
    """A store, a folder of WARC files, and the configuration of a series."""

    def __init__(self, folder: Path, record: Callable[..., bytes]) -> None:
        self.store, self.crawl, self.record = ArtifactStore(folder / "home"), folder / "crawl", record
        self.crawl.mkdir()
        self.settings: dict[str, Any] = {
            "ingest": {"sources": [{"kind": "warc", "name": "web", "paths": [f"{self.crawl}/*.warc.gz"]}]},
            "extract": {"mode": "fast"},
            "filter": dict.fromkeys(Thresholds.model_fields),
            "nights": {"series": "web"},
        }

    def arrives(self, name: str, pages: list[str]) -> None:
        """A WARC file with these pages, each at an address of its own."""
        found = [self.record(f"https://{name}.org/{n}", html(text)) for n, text in enumerate(pages)]
        (self.crawl / f"{name}.warc.gz").write_bytes(b"".join(found))

    def night(self, *, planning: bool = False, **options: Any) -> Session:
        """One run of the series up to its deduplicated documents."""
        opened = Session(store=self.store, planning=planning, run="night-1", warn=lambda text: None, **options)
        with session(opened):
            self.documents = every_night(PipelineConfig.model_validate(self.settings))
        return opened

    def urls(self) -> list[str]:
        """Of all documents of the series, as the last run has them."""
        return sorted(row["url"] for night in self.documents.values() for row in read_documents(night.path))

    def file(self, opened: Session, label: str, pattern: str) -> Path:
        """A file of the artifact that a step of a run made."""
        return next(self.store.place(step(opened, label).address).glob(pattern))


def step(opened: Session, label: str) -> Step:
    return next(step for step in opened.steps if step.label == label)


def states(opened: Session) -> dict[str, str]:
    return {step.label: step.state for step in opened.steps}


def html(text: str) -> bytes:
    paragraphs = "".join(f"<p>{part}.</p>" for part in text.split(". "))
    return f"<html><body><main>{paragraphs}</main></body></html>".encode()


def page(number: int) -> str:
    draw = random.Random(number)
    return ". ".join(
        f"The miller of {draw.choice(VILLAGES)} grinds sack {draw.randrange(9999)} of the grain that farmer "
        f"{draw.randrange(9999)} has brought from {draw.choice(VILLAGES)}"
        for _ in range(20)
    )


def nearly(number: int) -> str:
    """One sentence in twenty is another one."""
    return ". ".join([*page(number).split(". ")[:-1], "Nobody knows what became of the twentieth sack"])


@pytest.fixture
def mill(tmp_path: Path, record: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> Mill:
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path / "home"))
    return Mill(tmp_path, record)


def test_damage_in_what_an_earlier_night_is_known_by_lets_no_duplicate_in(mill: Mill):
    mill.arrives("first", [page(n) for n in range(8)])
    first = mill.night()
    damaged = mill.file(first, "known[n0001]", "*.shingles.npy")
    damage(damaged)
    mill.arrives("second", [nearly(n) for n in range(8)])
    second = mill.night()
    assert states(second)["known[n0001]"] == "built"
    assert step(second, "known[n0001]").address == step(first, "known[n0001]").address
    assert mill.urls() == [f"https://first.org/{n}" for n in range(8)]


def test_a_damaged_night_is_built_again_from_what_the_book_and_the_store_keep(mill: Mill):
    """Without the crawl's files, which somebody has moved away, and not by the settings of today."""
    mill.arrives("first", [page(n) for n in range(4)])
    first = mill.night()
    mill.arrives("second", [page(10), nearly(0)])
    mill.night()
    documents = mill.file(first, "dedup[n0001]", "part-*.parquet")
    content = documents.read_bytes()
    documents.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    for path in mill.crawl.iterdir():
        path.unlink()
    mill.settings["filter"] |= {"min_words": 10}
    mill.arrives("third", [page(30)])
    again = mill.night()
    assert {label for label, state in states(again).items() if "n0001" in label and state == "built"} == {
        "dedup[n0001]"
    }
    assert step(again, "dedup[n0001]").address == step(first, "dedup[n0001]").address
    assert mill.documents["n0001"].path.joinpath(documents.name).read_bytes() == content
    assert mill.urls() == [*(f"https://first.org/{n}" for n in range(4)), "https://second.org/0", "https://third.org/0"]
    assert states(again)["dedup[n0002]"] == "reused"


@pytest.mark.parametrize("refresh", ["dedup", "filter[n0001]"])
def test_a_refresh_reaches_earlier_nights(mill: Mill, refresh: str):
    mill.arrives("first", [page(n) for n in range(4)])
    mill.night()
    mill.arrives("second", [page(10)])
    mill.night()
    for planning, state in ((True, "build"), (False, "built")):
        refreshed = mill.night(planning=planning, refresh=frozenset({refresh}))
        assert states(refreshed)["dedup[n0001]"] == state
        assert states(refreshed).get("ingest[n0001]") == ("reuse" if planning else "reused")
        assert (states(refreshed)["dedup[n0002]"] == state) is (refresh == "dedup")
    assert len(mill.urls()) == 5


def test_a_night_whose_settings_nobody_kept_says_what_to_do(mill: Mill):
    mill.arrives("first", [page(0)])
    first = mill.night()
    book = mill.store.root / "nights" / "web.jsonl"
    entry = json.loads(book.read_text())
    book.write_text(json.dumps({name: entry[name] for name in ("event", "name", "documents", "known", "seen")}) + "\n")
    assert states(mill.night()) == {"dedup[n0001]": "reused"}
    mill.file(first, "dedup[n0001]", "part-*.parquet").unlink()
    with pytest.raises(NotHere, match=r"night n0001 is not \(whole\).*begin another series"):
        mill.night()


def damage(path: Path) -> None:
    array = np.load(path)
    np.save(path, np.zeros_like(array))


def test_on_a_remote_store_a_machine_with_an_empty_disk_goes_on_with_the_series(mill: Mill, tmp_path: Path):
    """As the pods of a cluster are; and a plan there brings no more than the index of what is known."""
    objects = Objects(f"file://{tmp_path}/store")
    mill.store = RemoteStore(objects, tmp_path / "pod1")
    mill.arrives("first", [page(n) for n in range(3)])
    mill.night()
    mill.store = RemoteStore(objects, tmp_path / "pod2")
    mill.arrives("second", [page(10), nearly(0)])
    planned = mill.night(planning=True)
    assert {label for label, state in states(planned).items() if state == "reuse"} == {"dedup[n0001]"}
    assert list(tmp_path.glob("pod2/signatures/known-*/*.npy")) == []
    second = mill.night()
    assert step(second, "dedup[n0002]").address == step(planned, "dedup[n0002]").address
    mill.store.path(mill.documents["n0001"].address)
    assert mill.urls() == [*(f"https://first.org/{n}" for n in range(3)), "https://second.org/0"]
