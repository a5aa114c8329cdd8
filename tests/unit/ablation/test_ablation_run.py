"""The table and the verdict, from bits that were made up."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from gristmill.ablation.config import AblationConfig
from gristmill.ablation.run import run_ablation
from gristmill.ablation.text_bits import DOCUMENTS, SCHEMA
from gristmill.report import Report

CONFIG = AblationConfig(recipes={"raw": {}, "clean": {}}, baseline="raw", reference="clean", seeds=[0, 1])


def write_trial(folder: Path, bits: dict[str, list[float]], *, steps: int = 10, **facts: str) -> Path:
    """bits: set → bits of its documents, of 100 bytes each."""
    folder.mkdir()
    rows = [
        {"set": name, "document": f"{name}-{number}", "bits": value, "bytes": 100}
        for name, values in bits.items()
        for number, value in enumerate(values)
    ]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), folder / DOCUMENTS)
    details = {"training": {"tokens": steps * 8, "steps": steps, "epochs": 1.0, **facts}}
    (folder / "report.json").write_text(Report(rows_in=1, rows_out=1, details=details).model_dump_json())
    return folder


@pytest.fixture
def trials(tmp_path: Path) -> dict[str, Path]:
    """`clean` needs .5 bits a byte less on `web`, and as much as `raw` on `wiki`, give or take."""
    bits = {
        "raw-s0": {"web": [200.0, 210.0, 220.0], "wiki": [250.0, 260.0]},
        "raw-s1": {"web": [201.0, 211.0, 221.0], "wiki": [252.0, 262.0]},
        "clean-s0": {"web": [150.0, 160.0, 170.1], "wiki": [252.0, 259.0]},
        "clean-s1": {"web": [151.0, 161.0, 171.1], "wiki": [251.0, 263.0]},
    }
    return {name: write_trial(tmp_path / name, values) for name, values in bits.items()}


def test_the_table_holds_the_hand_made_means_and_differences(trials, tmp_path: Path):
    report = run_ablation(trials, tmp_path, CONFIG)
    # web, raw: (200 + 210 + 220) / 300 and (201 + 211 + 221) / 300, on average 2.105
    assert report.metrics["web_bits_per_byte_raw"] == pytest.approx(2.105)
    assert report.metrics["web_clean_minus_baseline"] == pytest.approx((-50 - 50 - 49.9) / 300)
    assert report.metrics["wiki_clean_minus_baseline"] == pytest.approx((2 - 1 - 1 + 1) / 400)
    table = (tmp_path / "table.md").read_text()
    assert "| web | 3 | raw | 2.1000 2.1100 | 2.1050 |  | baseline |" in table
    assert "| web | 3 | clean | 1.6003 1.6103 | 1.6053 | -0.4997 [" in table
    assert report.details["confidence_of_each"] == pytest.approx(0.975)


def test_the_verdict_says_where_it_is_better_where_not_and_what_was_corrected(trials, tmp_path: Path):
    said = run_ablation(trials, tmp_path, CONFIG).details["verdict"]
    assert said.startswith("clean against raw, bits per byte: better on 1 of 2 sets: web -0.4997 [")
    assert "; no difference shown on 1 of 2 sets: wiki +0.0025 [" in said
    assert said.endswith("2 comparisons, each at 97.5% (Bonferroni).")
    assert json.loads((tmp_path / "comparisons.json").read_text())["verdict"] == said


def test_more_comparisons_make_wider_intervals(trials, tmp_path: Path):
    both = run_ablation(trials, tmp_path, CONFIG).details["comparisons"][0]["difference"]
    for folder in trials.values():
        pq.write_table(pq.read_table(folder / DOCUMENTS, filters=pc.field("set") == "web"), folder / DOCUMENTS)
    alone = run_ablation(trials, tmp_path, CONFIG).details["comparisons"][0]["difference"]
    assert both["mean"] == alone["mean"]
    assert both["high"] - both["low"] > alone["high"] - alone["low"]


def test_trials_of_different_length_or_on_other_documents_are_refused(trials, tmp_path: Path):
    longer = trials | {"clean-s1": write_trial(tmp_path / "longer", {"web": [1.0, 2.0]}, steps=20)}
    with pytest.raises(ValueError, match="different numbers of steps"):
        run_ablation(longer, tmp_path, CONFIG)
    others = trials | {"clean-s1": write_trial(tmp_path / "others", {"web": [1.0, 2.0, 3.0]})}
    with pytest.raises(ValueError, match="measured on different documents"):
        run_ablation(others, tmp_path, CONFIG)


def test_trials_of_different_precisions_are_refused_and_named(trials, tmp_path: Path):
    same = {"web": [200.0, 210.0, 220.0], "wiki": [250.0, 260.0]}
    mixed = trials | {
        "raw-s1": write_trial(tmp_path / "narrow", same, precision="bf16"),
        "clean-s0": write_trial(tmp_path / "wide", same, precision="fp32"),
    }
    with pytest.raises(ValueError, match=r"ablation: .*bf16: raw-s1; fp32: clean-s0"):
        run_ablation(mixed, tmp_path, CONFIG)
    assert run_ablation(mixed | {"clean-s0": trials["clean-s0"]}, tmp_path, CONFIG).rows_in == 4  # older: it has none


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"recipes": {"raw": {}}}, "at least 2"),
        ({"baseline": "rwa"}, "ablation.baseline=rwa is none of the recipes"),
        ({"seeds": [1, 1]}, "name each once"),
        ({"recipes": {"raw": {"model": {"depth": 9}}, "clean": {}}}, "raw.model is no section of the data"),
    ],
)
def test_a_comparison_that_says_nothing_is_refused(settings: dict, complaint: str):
    with pytest.raises(ValueError, match=complaint):
        AblationConfig(**settings)
