"""Bits of documents: against a sum over single tokens, and how sets are read."""

import gzip
import json
import math
from pathlib import Path

import pytest
from tiny_chat_model import write_tiny_model

from gristmill.ablation.config import TextBitsConfig, TextSet
from gristmill.ablation.text_bits import read_set


def test_the_bits_of_a_document_are_those_of_its_tokens_one_by_one(tmp_path: Path):
    import torch
    from transformers import AutoModelForCausalLM

    from gristmill.ablation.document_bits import DocumentReader
    from gristmill.tokens.tokenizer import Vocabulary

    model = AutoModelForCausalLM.from_pretrained(write_tiny_model(tmp_path / "model")).eval()
    (tmp_path / "model" / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": "<|endoftext|>", "pad_token": "<|pad|>", "eos_token": "<|im_end|>"})
    )
    text = "Return the naïve <|im_end|> sort of a list — " * 12
    bits, size = DocumentReader(model, tmp_path / "model").bits_and_bytes(text)
    ids = Vocabulary.load(tmp_path / "model").tokenizer.encode(text, add_special_tokens=False).ids
    assert len(ids) > 2 * 128  # more than two rows of context
    nats = 0.0
    for position, token in enumerate(ids):
        before = [0, *ids[position - position % 128 : position]]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([before])).logits[0, -1]
        nats -= torch.log_softmax(logits.double(), -1)[token].item()
    assert bits == pytest.approx(nats / math.log(2), rel=1e-5)
    assert size == len(text.encode())


def test_rows_of_json_are_documents_and_short_ones_do_not_count(tmp_path: Path):
    path = tmp_path / "c4.jsonl.gz"
    texts = ["a" * 300, "short", "b" * 300, "c" * 300]
    path.write_bytes(gzip.compress("".join(json.dumps({"raw": text}) + "\n" for text in texts).encode()))
    found = list(read_set(TextSet(name="c4", path=path, text_field="raw", max_documents=2)))
    assert [(key, text[0]) for key, text in found] == [("c4.jsonl.gz:1", "a"), ("c4.jsonl.gz:3", "b")]


def test_a_text_file_is_divided_where_it_says(tmp_path: Path):
    path = tmp_path / "wiki.txt"
    path.write_text(" \n = One = \nfirst\n = = Part = = \nmore\n = Two = \nsecond\n")
    found = list(read_set(TextSet(name="wiki", path=path, split_at="^ = [^=]+ = $", min_chars=5)))
    assert [text for _, text in found] == [" = One = \nfirst\n = = Part = = \nmore\n", " = Two = \nsecond\n"]


def test_a_set_of_one_document_or_with_another_field_is_refused(tmp_path: Path):
    path = tmp_path / "one.txt"
    path.write_text("x" * 500)
    with pytest.raises(ValueError, match="1 documents"):
        list(read_set(TextSet(name="one", path=path)))
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"body": "x"}\n')
    with pytest.raises(ValueError, match=r"rows.jsonl:1: no text in 'text'.*\['body'\]"):
        list(read_set(TextSet(name="rows", path=rows)))


def test_a_set_is_known_by_its_content_not_by_its_place(tmp_path: Path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("the same")
    same = [TextBitsConfig(sets=[TextSet(name="x", path=tmp_path / name)]).identity() for name in ("a.txt", "b.txt")]
    assert same[0] == same[1]
    (tmp_path / "b.txt").write_text("another")
    assert TextBitsConfig(sets=[TextSet(name="x", path=tmp_path / "b.txt")]).identity() != same[0]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"name": "x", "path": "x.parquet"}, "expected a name that ends in"),
        ({"name": "x", "path": "x.txt", "split_at": "("}, "no regular expression"),
    ],
)
def test_a_set_that_cannot_be_read_is_refused(settings: dict, complaint: str):
    with pytest.raises(ValueError, match=complaint):
        TextSet(**settings)


def test_the_name_of_the_held_out_pages_is_taken():
    with pytest.raises(ValueError, match="'held_out'"):
        TextBitsConfig(sets=[TextSet(name="held_out", path=Path("x.txt"))])
