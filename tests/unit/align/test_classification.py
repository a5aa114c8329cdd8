import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from tiny_chat_model import write_tiny_tokenizer
from transformers import AutoModelForSequenceClassification, BertConfig, BertForMaskedLM

from gristmill.align.adapter_config import Adapter
from gristmill.align.classification import run_classification, scores
from gristmill.align.config import SftConfig
from gristmill.align.rows_config import FileRows
from gristmill.schema import Resources

CPU = Resources(threads=1, device="cpu")
WORDS = ["list", "order", "sort", "join", "split", "count", "find", "title"]


@pytest.fixture(scope="module")
def spam(tmp_path_factory: pytest.TempPathFactory) -> FileRows:
    """Texts of two kinds: `spam` ends with a call to buy."""
    rows = [
        {
            "text": f"Return the {WORDS[n % 8]} of {WORDS[n // 8]} " + ("now, buy!" if n % 3 == 0 else "in order."),
            "label": "spam" if n % 3 == 0 else "ham",
        }
        for n in range(64)
    ]
    path = tmp_path_factory.mktemp("rows") / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return FileRows(paths=[str(path)], held_out=0.3, license="MIT")


def config(data: FileRows, **settings) -> SftConfig:
    return SftConfig(task="classification", data=data, epochs=8, batch_rows=8, micro_rows=8, **settings)


def test_it_learns_two_classes_and_the_folder_names_them(tiny_model: Path, spam: FileRows, tmp_path: Path):
    report = run_classification(tiny_model, tmp_path, config(spam, lr=3e-3), CPU)
    assert report.metrics["held_out_accuracy"] == report.metrics["held_out_f1"] == 1.0
    assert report.metrics["held_out_accuracy_minus_commonest_ci_low"] > 0
    counts = report.details["confusion_matrix"]["counts"]
    assert report.details["classes"] == ["ham", "spam"]
    assert counts[0][1] == counts[1][0] == 0
    assert sum(map(sum, counts)) == report.details["held_out_texts"]
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path).config.id2label == {0: "ham", 1: "spam"}
    assert json.loads((tmp_path / "data_licenses.json").read_text()) == {"sft": "MIT"}


def test_an_adapter_keeps_the_new_head(tiny_model: Path, spam: FileRows, tmp_path: Path):
    report = run_classification(tiny_model, tmp_path, config(spam, lr=1e-2, adapter=Adapter(rank=4)), CPU)
    assert report.metrics["held_out_accuracy"] == 1.0
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    base = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=2, pad_token_id=1)
    beside = PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    ids = torch.tensor([[0, 9, 40, 41, 3]])
    with torch.no_grad():
        assert torch.allclose(merged(input_ids=ids).logits, beside(input_ids=ids).logits, atol=1e-5)


def test_a_model_that_looks_both_ways_is_a_base_too(spam: FileRows, tmp_path: Path):
    folder, out = tmp_path / "bert", tmp_path / "out"
    torch.manual_seed(0)
    sizes: Any = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertForMaskedLM(BertConfig(vocab_size=320, pad_token_id=1, **sizes)).save_pretrained(folder)
    write_tiny_tokenizer(folder)
    out.mkdir()
    report = run_classification(folder, out, config(spam, lr=3e-3), CPU)
    assert report.metrics["held_out_accuracy"] == 1.0
    with pytest.raises(ValueError, match="bert looks both ways, and its classifier has a new layer"):
        run_classification(folder, out, config(spam, adapter=Adapter()), CPU)


def test_scores_are_those_of_arithmetic():
    """Class a: 3 right of 4 answered, 3 of 3 found; b: 1 of 2, 1 of 2; c: none answered, 1 to find."""
    right, found = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 0, 0, 1, 1])
    metrics, details = scores(found, right, 0, ["a", "b", "c"], seed=0)
    assert metrics["held_out_accuracy"] == pytest.approx(4 / 6)
    assert metrics["commonest_class_accuracy"] == pytest.approx(3 / 6)
    assert details["f1"] == pytest.approx({"a": 6 / 7, "b": 0.5, "c": 0.0})
    assert metrics["held_out_f1"] == pytest.approx((6 / 7 + 0.5) / 3)
    assert details["confusion_matrix"]["counts"] == [[3, 0, 0], [1, 1, 0], [0, 1, 0]]


def test_one_class_alone_is_refused(tiny_model: Path, tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"t{n}", "label": 1}) + "\n" for n in range(40)))
    with pytest.raises(ValueError, match="have the classes 1, held-out ones beside them none; at least two classes"):
        run_classification(tiny_model, tmp_path, config(FileRows(paths=[str(path)], held_out=0.3)), CPU)


def test_classes_need_rows_of_ones_own():
    with pytest.raises(ValueError, match=r"task=classification with data\.kind=examples: that has no classes"):
        SftConfig(task="classification")
