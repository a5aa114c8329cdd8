"""A store of one run whose numbers are known, and what the run wrote about itself.

Of four items the model answers a, b and c rightly, the champion a and d: a gain of 2 and a loss of 1.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.evaluate.pairing import write_items
from gristmill.ledger.costs import Costs
from gristmill.report import Report
from gristmill.store import ArtifactStore, Recipe, Record

RUN = "night-20260102-030000"
RIGHT = {"align": "abc", "champion": "ad"}
PRICES = {"machine_hour": 7.2, "currency": "CHF"}
METRICS = [
    {"step": 1, "train_bits_per_byte": 4.0, "energy_j": 10.0},
    {"step": 2, "train_bits_per_byte": "not finite"},
    {"step": 3, "train_bits_per_byte": 2.0, "bits_per_byte": 2.5, "energy_j": 7200.0},
]


class SmallRun:
    """Builds the artifacts in order; `stages` is what last_run.json says of them."""

    def __init__(self, root: Path, *, name: str = RUN) -> None:
        self.store = ArtifactStore(root)
        self.name = name
        self.records: dict[str, Record] = {}
        self.stages: list[dict[str, Any]] = []

    def publish(
        self,
        kind: str,
        label: str,
        inputs: Mapping[str, str | None],
        *,
        report: Report | None = None,
        files: dict[str, str] | None = None,
        config: dict[str, Any] | None = None,
        items: Iterable[dict[str, Any]] = (),
        pages: int = 0,
        fill: Callable[[Path], object] | None = None,
    ) -> str:
        """pages: kept ones, which have a verdict; two more were dropped. fill: writes more files into the folder."""
        stage = label.partition("[")[0]
        recipe = Recipe(kind=kind, stage=stage, version=1, config=config or {}, inputs=dict(inputs))
        with self.store.building(recipe.address) as draft:
            for name, content in (files or {}).items():
                (draft / name).parent.mkdir(parents=True, exist_ok=True)
                (draft / name).write_text(content)
            if items:
                write_items(draft, list(items))
            if pages:
                kept = {"source": "web", "license": "CC0", "language": "en", "chars": 100}
                rows = [{**kept, "decision": "dropped" if row < 2 else "kept"} for row in range(pages + 2)]
                pq.write_table(pa.Table.from_pylist(rows), draft / "verdicts.parquet")
            if fill:
                fill(draft)
            made = report or Report(rows_in=1, rows_out=1)
            (draft / "result.json").write_text(made.model_dump_json())
            used = Costs(seconds=100.0, cpu_seconds=150.0, peak_memory_bytes=1, bytes_read=1, bytes_written=1)
            facts = {"label": label, "run": self.name, "seconds": 100.0, "resources": {}, "git_commit": "c0ffee"}
            facts["costs"] = used
            self.records[label] = self.store.publish(draft, recipe, made, **facts)
        built = {"stage": label, "state": "built", "seconds": 100.0, "key": recipe.address, "costs": used.model_dump()}
        self.stages.append(built)
        return recipe.address

    def run(self, **more: Any) -> dict[str, Any]:
        facts = {"schema_version": 1, "flow": "pipeline", "config": "night", "run": self.name, "error": None}
        return {
            **facts,
            "seconds": 700.0,
            "stages": self.stages,
            "scores": {},
            "model": None,
            "stopped": None,
            "prices": PRICES,
        } | more

    def remember(self, **more: Any) -> dict[str, Any]:
        """Write what `gristmill run` writes."""
        folder = self.store.root / "runs"
        folder.mkdir(parents=True, exist_ok=True)
        run = self.run(**more)
        for path in (folder / f"{self.name}.json", self.store.root / "last_run.json"):
            path.write_text(json.dumps(run))
        return run


ASKED = {"definition": {"plain_template": "{question}\n"}, "data_sha256": "0" * 64, "precision": "fp32", "chat": True}


def scored(right: str, **asked: Any) -> Report:
    """asked: how the benchmark was asked, where that differs from ASKED."""
    metrics = {"bits_per_byte": 1.5, "q_accuracy": len(right) / 4, "q_shortest": 0.25, "q_n": 4.0}
    return Report(
        rows_in=4,
        rows_out=4,
        unit="items",
        metrics=metrics | {"q_accuracy_ci_low": 0.1, "q_accuracy_ci_high": 0.9},
        details={"benchmarks": {"q": ASKED | asked}},
    )


def items_of(right: str) -> list[dict[str, Any]]:
    kinds = {"scores": [0.0, 1.0], "chosen": 0, "answer": 0, "word_overlap": 0.25, "shortest": 0.25}
    return [{"benchmark": "q", "id": each, "correct": float(each in right), **kinds} for each in "abcd"]


def verdict(passed: bool, *, state: str | None = None, over: str | None = "checkpoint/old-0") -> dict[str, Any]:
    """promotion.json."""
    compared = {
        "rule": "better_than_champion",
        "metric": "q_accuracy_minus_champion",
        "found": 0.25,
        "needed": 0.0,
        "passed": passed,
        "short_by": 0.0,
        "low": -0.5,
        "high": 0.75,
        "n": 4,
        "says": "q_accuracy_minus_champion is +0.25 [-0.50, +0.75] on 4 items",
    }
    facts = {"model": "miller", "version": "7", "over": over, "rules": [compared], "promoted": passed}
    return facts | {"state": state or ("promoted" if passed else "failed")}


def make_run(
    root: Path,
    *,
    passed: bool = True,
    rule: str = "min_words",
    answer: str = "An answer.",
    beta: float = 0.1,
    name: str = RUN,
) -> SmallRun:
    """rule: what dropped two pages. answer: the model's to every prompt. beta: a setting of align."""
    made = SmallRun(root, name=name)
    warcs = made.publish(
        "warcs", "ingest", {}, report=Report(rows_in=1, rows_out=1, unit="files", details={"sources": {"web": {}}})
    )
    dropped = Report(rows_in=10, rows_out=8, unit="pages", dropped={rule: 2}, details={"redacted": {"email": 3}})
    documents = made.publish("documents", "extract", {"warcs": warcs}, report=dropped, pages=8)
    lines = "".join(json.dumps(row) + "\n" for row in METRICS)
    trained = Report(rows_in=80, rows_out=80, unit="tokens", metrics={"parameters": 1000.0})
    base = made.publish(
        "checkpoint", "pretrain", {"documents": documents}, report=trained, files={"metrics.jsonl": lines}
    )
    champion = made.publish("checkpoint", "sft", {"model": base})
    aligned = made.publish(
        "checkpoint", "align", {"model": champion, "documents": documents}, config={"align": {"beta": beta}}
    )
    asked = json.dumps({"prompt": "What?", "answer": answer}) + "\n"
    scores = {
        who: made.publish(
            *("evaluation", f"evaluate[{who}]", {"model": model}),
            report=scored(RIGHT[who]),
            files={"samples.jsonl": asked},
            items=items_of(RIGHT[who]),
        )
        for who, model in (("align", aligned), ("champion", champion))
    }
    registration = made.publish("registration", "register", {"model": aligned, "evaluation": scores["align"]})
    details = verdict(passed) | {"checkpoint": aligned, "evaluation": scores["align"]}
    inputs = {"registration": registration, "evaluation": scores["align"], "champion": scores["champion"]}
    made.publish(
        "promotion",
        "promote",
        {**inputs, "over": champion},
        report=Report(rows_in=1, rows_out=1, unit="models", details=details),
    )
    return made
