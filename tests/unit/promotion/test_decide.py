"""From artifacts in a store to a verdict, an entry in the journal and an alias."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.dedup.leaks import LEAK_SCHEMA
from gristmill.evaluate.pairing import write_items
from gristmill.promotion.config import AtMost, BetterThanChampion, PromoteConfig
from gristmill.promotion.decide import decide
from gristmill.promotion.exposure import find_exposure
from gristmill.promotion.journal import Journal
from gristmill.report import Report
from gristmill.store import ArtifactStore, Recipe

N = 200
IDS = [f"os.f{number:03d}" for number in range(N)]
PIQA = "0" * 64


class Mill:
    """A store, and the artifacts behind two models."""

    def __init__(self, root: Path) -> None:
        self.store = ArtifactStore(root)
        self.examples = self.publish("examples", "examples", {}, {}, self._held_out)

    def publish(self, kind: str, stage: str, inputs: dict, config: dict, *fills: Any) -> str:
        recipe = Recipe(kind=kind, stage=stage, version=1, config=config, inputs=inputs)
        with self.store.building(recipe.address) as draft:
            for fill in fills:
                fill(draft)
            self.store.publish(draft, recipe, Report(rows_in=1, rows_out=1), label=stage, run="r", seconds=0.0)
        return recipe.address

    def _held_out(self, draft: Path, ids: list[str] = IDS) -> None:
        rows = [{"id": key, "text": f"What {key} does.", "summary": f"What {key} does."} for key in ids]
        (draft / "held_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def model(
        self,
        name: str,
        *,
        examples: str | None = None,
        not_covered: tuple[dict, ...] = (),
        leaks: tuple[dict, ...] = (),
        piqa: bool = False,
        start: str = "scratch",
    ) -> str:
        """Address of a model whose training text was decontaminated so; `name` tells it from others."""

        def records(draft: Path) -> None:
            (draft / "not_covered.jsonl").write_text("".join(json.dumps(row) + "\n" for row in not_covered))
            empty = dict.fromkeys(LEAK_SCHEMA.names)
            pq.write_table(pa.Table.from_pylist([empty | row for row in leaks], LEAK_SCHEMA), draft / "leaks.parquet")

        files = [{"path": PIQA, "name": "piqa"}] if piqa else []
        inputs = {"examples": examples or self.examples, "name": name}
        clean = self.publish("documents", "decontaminate", inputs, {"decontaminate": {"benchmarks": files}}, records)
        tokens = self.publish("tokens", "tokenize", {"splits": clean}, {})
        model = {"model": {"start": {"kind": start}}}
        base = self.publish("checkpoint", "pretrain", {"tokens": tokens, "start": None}, model)
        return self.publish("checkpoint", "align", {"model": base, "examples": self.examples}, {}, weights)

    def evaluation(
        self,
        model: str,
        right: int,
        *,
        kind: str = "examples",
        ids: list[str] = IDS,
        template: str = "{question}",
    ) -> str:
        """An evaluation of a model that is right on the first so many items."""
        data = {"kind": kind, "path": PIQA} if kind == "jsonl" else {"kind": kind}
        name = "docs_choice" if kind == "examples" else "piqa"

        def result(draft: Path) -> None:
            row = {"benchmark": name, "scores": [0.0], "chosen": 0, "answer": 0, "word_overlap": 0.25, "shortest": 0.25}
            numbers = [i + 1 if kind == "jsonl" else None for i in range(len(ids))]
            answered = zip(ids, numbers, strict=True)
            write_items(
                draft,
                [
                    row | {"id": key, "row": number, "correct": float(i < right)}
                    for i, (key, number) in enumerate(answered)
                ],
            )
            asked = {"definition": {"plain_template": template}, "chat": True}
            report = Report(
                rows_in=N,
                rows_out=N,
                unit="items",
                metrics={"bits_per_byte": 1.5},
                details={"benchmarks": {name: asked}},
            )
            (draft / "result.json").write_text(report.model_dump_json())

        config = {"evaluate": {"benchmarks": [{"name": name, "data": data}]}}
        return self.publish("evaluation", "evaluate", {"model": model, "examples": self.examples}, config, result)


def weights(draft: Path) -> None:
    (draft / "model.safetensors").write_bytes(bytes(2_000_000))


@pytest.fixture
def mill(tmp_path: Path) -> Mill:
    return Mill(tmp_path / "store")


def challenger(checkpoint: str) -> dict[str, str]:
    return {"model": "gristmill", "version": "2", "checkpoint": checkpoint, "evaluation": "evaluation/evaluate-0"}


def test_a_better_model_becomes_champion_and_the_verdict_is_on_record(mill: Mill, client, registry):
    old, new = mill.model("old"), mill.model("new")
    client.versions |= {"1": {"gristmill.artifact": old}, "2": {"gristmill.artifact": new}}
    evaluations = [mill.evaluation(new, 120), mill.evaluation(old, 90)]
    rules = PromoteConfig(rules=[BetterThanChampion(), AtMost(metric="model_megabytes", value=2.1)])
    made = decide(mill.store, registry, challenger(new), evaluations, over=old, config=rules)
    assert made["state"] == "promoted"
    assert made["promoted"]
    assert made["rules"][1]["found"] == 2.0
    assert client.aliases == {"champion": "2", "previous": "1"}
    judged, begin, done = Journal(mill.store.root, "gristmill").read()
    assert judged["rules"] == made["rules"]
    assert (judged["event"], begin["event"], done["event"]) == ("judged", "begin", "done")


def test_a_champion_that_was_asked_in_other_words_stays(mill: Mill, client, registry):
    old, new = mill.model("old"), mill.model("new")
    client.versions |= {"1": {"gristmill.artifact": old}, "2": {"gristmill.artifact": new}}
    evaluations = [mill.evaluation(new, 120), mill.evaluation(old, 90, template="Q: {question}")]
    config = PromoteConfig(rules=[BetterThanChampion()])
    made = decide(mill.store, registry, challenger(new), evaluations, over=old, config=config)
    assert made["state"] == "failed"
    assert "plain_template is '{question}' here, 'Q: {question}' there" in made["rules"][0]["says"]
    assert client.aliases == {"champion": "1"}


def test_an_equal_model_moves_nothing_and_its_verdict_is_on_record_too(mill: Mill, client, registry):
    old, new = mill.model("old"), mill.model("new")
    client.versions |= {"1": {"gristmill.artifact": old}, "2": {"gristmill.artifact": new}}
    evaluations = [mill.evaluation(new, 90), mill.evaluation(old, 90)]
    config = PromoteConfig(rules=[BetterThanChampion()])
    made = decide(mill.store, registry, challenger(new), evaluations, over=old, config=config)
    assert (made["state"], made["promoted"]) == ("failed", False)
    assert client.aliases == {"champion": "1"}
    assert [entry["passed"] for entry in Journal(mill.store.root, "gristmill").read()] == [False]


def test_with_approval_required_a_model_that_passes_waits(mill: Mill, client, registry):
    old, new = mill.model("old"), mill.model("new")
    client.versions |= {"1": {"gristmill.artifact": old}, "2": {"gristmill.artifact": new}}
    evaluations = [mill.evaluation(new, 120), mill.evaluation(old, 90)]
    config = PromoteConfig(rules=[BetterThanChampion()], approval="required")
    made = decide(mill.store, registry, challenger(new), evaluations, over=old, config=config)
    assert (made["state"], made["promoted"]) == ("awaiting approval", False)
    assert client.aliases == {"champion": "1"}


def test_items_that_one_side_does_not_cover_are_exposed_and_items_cut_from_pages_are_counted(mill: Mill):
    not_covered = (
        {"benchmark": "examples", "item_id": IDS[3], "row": 4},
        {"benchmark": "x", "item_id": IDS[5], "row": 6},
    )
    leaks = ({"benchmark": "examples", "item_id": IDS[7], "row": 8},)
    old, new = mill.model("old", not_covered=not_covered), mill.model("new", leaks=leaks)
    evaluations = [mill.evaluation(new, 1), mill.evaluation(old, 1)]
    found = find_exposure(mill.store, evaluations, accept_open_weights=False)["docs_choice"]
    assert found.unknown is None
    assert found.items == {IDS[3]}
    assert found.numbers("docs_choice", N) == {"docs_choice_exposed_share": 1 / N, "docs_choice_found_share": 1 / N}


def test_items_that_a_model_never_looked_for_are_exposed(mill: Mill):
    """The champion's pipeline held out other functions: what it did not hold out, it may have read."""
    fewer = mill.publish("examples", "examples", {}, {"seed": 1}, lambda draft: mill._held_out(draft, IDS[50:]))
    old, new = mill.model("old", examples=fewer), mill.model("new")
    evaluations = [mill.evaluation(new, 1), mill.evaluation(old, 1)]
    found = find_exposure(mill.store, evaluations, accept_open_weights=False)["docs_choice"]
    assert found.items == set(IDS[:50])


@pytest.mark.parametrize("called", ["12", "slug-12"])
def test_items_of_a_file_are_matched_by_row_and_a_file_nobody_looked_for_is_exposed_whole(called: str, mill: Mill):
    ids = [f"question-{number + 1}" for number in range(N)]
    record = {"benchmark": "piqa", "item_id": called, "row": 12}
    knows = mill.model("knows", piqa=True, not_covered=(record,), leaks=(record | {"row": 7},))
    asked = mill.evaluation(knows, 1, kind="jsonl", ids=ids)
    found = find_exposure(mill.store, [asked], accept_open_weights=False)["piqa"]
    assert (found.items, found.found) == ({"question-12"}, 1)
    ignorant = mill.evaluation(mill.model("ignorant"), 1, kind="jsonl", ids=ids)
    found = find_exposure(mill.store, [asked, ignorant], accept_open_weights=False)["piqa"]
    assert found.items == set(ids)


def test_of_open_weights_nobody_knows_what_they_have_read(mill: Mill):
    evaluation = mill.evaluation(mill.model("open", start="open"), 1)
    unknown = find_exposure(mill.store, [evaluation], accept_open_weights=False)["docs_choice"].unknown
    assert unknown
    assert "began with open weights" in unknown
    assert find_exposure(mill.store, [evaluation], accept_open_weights=True)["docs_choice"].unknown is None


def test_a_record_that_is_gone_leaves_nothing_known(mill: Mill):
    model = mill.model("one")
    evaluation = mill.evaluation(model, 1)
    (mill.store.place(model) / "record.json").unlink()
    unknown = find_exposure(mill.store, [evaluation], accept_open_weights=False)["docs_choice"].unknown
    assert unknown
    assert model in unknown


def test_no_comparison_rests_on_items_of_the_hub_which_nobody_kept_out_of_the_training_text(mill: Mill):
    evaluations = [mill.evaluation(mill.model(name, piqa=True), 100, kind="hub") for name in ("new", "old")]
    exposed = find_exposure(mill.store, evaluations, accept_open_weights=False)["piqa"]
    assert exposed.items == frozenset(IDS)
    assert exposed.numbers("piqa", N) == {"piqa_exposed_share": 1.0, "piqa_found_share": 0.0}
