"""Bits per byte on named texts, beside lm-evaluation-harness's rolling log-likelihood."""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from gristmill.evaluate.config import EvaluateConfig
from gristmill.evaluate.run import run_evaluate
from gristmill.report import Report
from gristmill.schema import Resources

CPU = Resources(threads=1, device="cpu")
ROWS = [
    {"text": "Return the list in order.", "url": "https://docs.example.org/a", "language": "en"},
    {"text": "Sort a list, then join it. " * 40, "url": "https://docs.example.org/b", "language": "en"},
    {"text": "Список у порядку — «так».", "url": "https://example.net/c d", "language": "uk"},
]


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    path = tmp_path / "documents.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def measure(model: Path, out: Path, path: Path, *, parent: Path | None = None, **changed: Any) -> Report:
    text = {"name": "pages", "path": str(path), **changed}
    config = EvaluateConfig.model_validate({"benchmarks": [], "samples": [], "texts": [text]})
    out.mkdir()
    report = run_evaluate(model, None, None, parent, out, config, CPU)
    (out / "result.json").write_text(report.model_dump_json())
    return report


def rolling(model: Path) -> list[float]:
    """Nats of each document by lm-eval."""
    from lm_eval.api.instance import Instance
    from lm_eval.models import huggingface

    hflm: Any = huggingface.HFLM  # the decorator that registers it hides its type
    lm = hflm(pretrained=AutoModelForCausalLM.from_pretrained(model), tokenizer=AutoTokenizer.from_pretrained(model))
    requests = [Instance("loglikelihood_rolling", {}, (row["text"],), 0) for row in ROWS]
    return [-float(logp) for logp in lm.loglikelihood_rolling(requests, disable_tqdm=True)]


def test_bits_are_those_of_lm_eval_and_bytes_those_of_utf8(tiny_model: Path, documents: Path, tmp_path: Path):
    report = measure(tiny_model, tmp_path / "out", documents)
    rows = pq.read_table(tmp_path / "out" / "documents.parquet").to_pylist()
    nats, sizes = rolling(tiny_model), [len(row["text"].encode()) for row in ROWS]
    assert [row["bytes"] for row in rows] == sizes
    assert [row["nats"] for row in rows] == pytest.approx(nats, rel=1e-5)
    assert report.details["texts"]["pages"]["context"] == 128
    assert sizes[1] > 3 * 128  # the second document is cut
    expected = sum(nats) / math.log(2) / sum(sizes)
    assert report.metrics["pages_bits_per_byte"] == pytest.approx(expected, rel=1e-5)
    assert report.metrics["pages_n"] == 3


def test_groups_are_values_of_a_field_and_of_a_url_its_host(tiny_model: Path, documents: Path, tmp_path: Path):
    nats, sizes = rolling(tiny_model), [len(row["text"].encode()) for row in ROWS]
    by_host = measure(tiny_model, tmp_path / "a", documents, group_by="url").metrics
    both = sum(nats[:2]) / math.log(2) / sum(sizes[:2])
    assert by_host["pages_bits_per_byte_docs.example.org"] == pytest.approx(both, rel=1e-5)
    alone = nats[2] / math.log(2) / sizes[2]
    assert by_host["pages_bits_per_byte_example.net"] == pytest.approx(alone, rel=1e-5)
    by_language = measure(tiny_model, tmp_path / "b", documents, group_by="language").metrics
    assert by_language["pages_bits_per_byte_uk"] == by_host["pages_bits_per_byte_example.net"]


def test_two_models_are_compared_document_by_document(tiny_model: Path, documents: Path, tmp_path: Path):
    parent = measure(tiny_model, tmp_path / "parent", documents)
    same = measure(tiny_model, tmp_path / "same", documents, parent=tmp_path / "parent").metrics
    bounds = [same[f"pages_bits_per_byte_minus_parent{end}"] for end in ("", "_ci_low", "_ci_high")]
    assert bounds == [0, 0, 0]
    narrow = measure(tiny_model, tmp_path / "narrow", documents, parent=tmp_path / "parent", context=16).metrics
    assert "pages_bits_per_byte_minus_parent" not in narrow  # seen in other pieces
    assert narrow["pages_bits_per_byte"] != parent.metrics["pages_bits_per_byte"]


def test_a_row_without_the_text_or_the_group_is_named(tiny_model: Path, documents: Path, tmp_path: Path):
    with pytest.raises(ValueError, match=r"documents\.jsonl:1: no text in the field 'body'"):
        measure(tiny_model, tmp_path / "a", documents, field="body")
    with pytest.raises(ValueError, match=r"documents\.jsonl:1: no field 'domain' to group by"):
        measure(tiny_model, tmp_path / "b", documents, group_by="domain")
