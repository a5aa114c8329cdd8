"""Bits of every document: `python -m gristmill.ablation.text_bits --config run.yaml --out DIR`.

Writes documents.parquet, a row a document. A document is read as training packs it: rows of the model's context, each
begun anew with the document start, every token predicted once.
"""

import gzip
import math
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.ablation.config import HELD_OUT, TextBitsConfig, TextBitsRun, TextSet
from gristmill.jsonl import read_jsonl
from gristmill.program import run_program
from gristmill.progress import progress
from gristmill.report import Report
from gristmill.schema import Resources
from gristmill.text.documents import read_documents

DOCUMENTS = "documents.parquet"
SCHEMA = pa.schema([("set", pa.string()), ("document", pa.string()), ("bits", pa.float64()), ("bytes", pa.int64())])


def run_text_bits(model: Path, splits: Path, out: Path, config: TextBitsConfig, resources: Resources) -> Report:
    """Measure a model on the validation pages of `splits` and on every set of the configuration."""
    import torch

    from gristmill.ablation.document_bits import DocumentReader
    from gristmill.evaluate.checkpoints import load_model, prepare_process

    device = prepare_process(resources)
    policy, _ = load_model(model, device)
    reader = DocumentReader(policy, model)
    rows = []
    narrow = torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")
    with narrow, progress("text_bits", total=None, unit="documents") as bar:
        for name, key, text in _documents(splits, config):
            bits, size = reader.bits_and_bytes(text)
            rows.append({"set": name, "document": key, "bits": bits, "bytes": size})
            bar.advance(note=name)
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), out / DOCUMENTS, compression="zstd")
    trained = Report.model_validate_json((model / "report.json").read_bytes())
    sums = {name: [row for row in rows if row["set"] == name] for name in dict.fromkeys(row["set"] for row in rows)}
    measured = {
        f"{name}_bits_per_byte": sum(row["bits"] for row in found) / sum(row["bytes"] for row in found)
        for name, found in sums.items()
    }
    if not all(math.isfinite(value) for value in measured.values()):
        raise ValueError(f"the model in {model.name} gives bits per byte that are not finite: {measured}")
    training = {
        "tokens": trained.rows_out,
        **{name: trained.metrics[name] for name in ("steps", "epochs")},
        "precision": trained.details.get("precision"),
    }
    return Report(
        rows_in=len(rows),
        rows_out=len(rows),
        metrics=measured,
        details={"documents": {name: len(found) for name, found in sums.items()}, "training": training},
    )


def _documents(splits: Path, config: TextBitsConfig) -> Iterator[tuple[str, str, str]]:
    """(set, document's name, text)."""
    for page in read_documents(splits / "validation", columns=["doc_id", "text"]):
        yield HELD_OUT, page["doc_id"], page["text"]
    for text_set in config.sets:
        yield from ((text_set.name, key, text) for key, text in read_set(text_set))


def read_set(text_set: TextSet) -> list[tuple[str, str]]:
    """(name, text) of a set's documents. Raises ValueError when there are fewer than two: no interval without."""
    long_enough = ((key, text) for key, text in _texts(text_set) if len(text) >= text_set.min_chars)
    documents = list(islice(long_enough, text_set.max_documents))
    if len(documents) < 2:
        raise ValueError(
            f"text_bits.sets: {text_set.name} has {len(documents)} documents of {text_set.min_chars} characters in "
            f"{text_set.path}; an interval needs at least 2, so bring more, or set split_at"
        )
    return documents


def _texts(text_set: TextSet) -> Iterator[tuple[str, str]]:
    path = text_set.path
    if ".jsonl" in path.suffixes:
        for where, row in read_jsonl(path):
            if not isinstance(row.get(text_set.text_field), str):
                raise ValueError(
                    f"{where}: no text in {text_set.text_field!r}; set text_field, there are {sorted(row)}"
                )
            yield where, row[text_set.text_field]
        return
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        text = file.read()
    starts = (
        [match.start() for match in re.finditer(text_set.split_at, text, re.MULTILINE)] if text_set.split_at else []
    )
    for start, end in zip([0, *starts], [*starts, len(text)], strict=True):
        yield f"{path.name}:{start}", text[start:end]


if __name__ == "__main__":
    run_program(
        "gristmill.ablation.text_bits",
        TextBitsRun,
        lambda run, out: run_text_bits(run.model, run.splits, out, run.config, run.resources),
    )
