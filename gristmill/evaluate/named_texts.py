"""Bits per byte on named texts, by any tokenizer: Σ nats of a document's tokens / (ln 2 · Σ its bytes in UTF-8).

A document begins with the token that begins documents, which counts neither as nats nor as bytes. One that does not fit
into the context is cut into pieces as lm-evaluation-harness's rolling log-likelihood does it: each sees the last token
of the piece before it, and the last piece as much as there is room for. Intervals are by bootstrap over documents.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gristmill.evaluate.bits_per_byte import NOT_TEXT, logits_per_batch, nats_of_targets
from gristmill.evaluate.harness_items import drawn
from gristmill.evaluate.multiple_choice import prompt_tokens
from gristmill.evaluate.named_texts_config import NamedText
from gristmill.evaluate.statistics import Interval, ratio_interval
from gristmill.fingerprint import read_sha256
from gristmill.jsonl import read_jsonl
from gristmill.program import RESULT
from gristmill.progress import progress
from gristmill.report import Report

DOCUMENTS = "documents.parquet"
GROUPS = 12


@dataclass(frozen=True)
class Document:
    """row: its number in the file, from 1."""

    row: int
    text: str
    group: str | None

    @property
    def bytes(self) -> int:
        return len(self.text.encode())


@dataclass(frozen=True)
class Measured:
    """A document's nats."""

    document: Document
    nats: float

    @property
    def bits(self) -> float:
        return self.nats / math.log(2)


def measure_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[NamedText],
    out: Path,
    parent: Path | None,
    *,
    seed: int,
    limit_seed: int,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics and details; writes documents.parquet into `out`.

    Metrics are NAME_bits_per_byte with an interval, NAME_n, and NAME_bits_per_byte_GROUP of the GROUPS groups with the
    most bytes; with `parent`, an earlier evaluation of the same documents, also NAME_bits_per_byte_minus_parent.
    Raises ValueError where a file holds no such documents.
    """
    metrics: dict[str, float] = {}
    details: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    earlier = _details_of(parent)
    for each in texts:
        documents, of = _read(each, limit_seed)
        context = min(each.context or math.inf, model.config.get_text_config().max_position_embeddings)
        measured = _measure(model, tokenizer, documents, int(context), each.name)
        details[each.name] = {
            "data_sha256": read_sha256(each.path),
            "field": each.field,
            "n": len(documents),
            "of": of,
            "limit_seed": limit_seed if len(documents) < of else None,
            "bytes": sum(document.bytes for document in documents),
            "context": int(context),
        }
        metrics |= _metrics(each.name, measured, seed)
        if parent and earlier.get(each.name) == details[each.name]:
            change = _minus_parent(measured, each.name, parent, seed)
            metrics |= change.metrics(f"{each.name}_bits_per_byte_minus_parent")
        rows += [
            {"text": each.name, "row": one.document.row, "bytes": one.document.bytes, "nats": one.nats}
            for one in measured
        ]
    pq.write_table(pa.Table.from_pylist(rows), out / DOCUMENTS, compression="zstd")
    return metrics, {"texts": details}


def _read(text: NamedText, limit_seed: int) -> tuple[list[Document], int]:
    """The documents asked for, and how many there are."""
    found = []
    for where, row in read_jsonl(text.path):
        said = row.get(text.field)
        if not isinstance(said, str) or not said:
            raise ValueError(f"{where}: no text in the field {text.field!r}; the row has {', '.join(row)}")
        if text.group_by is not None and text.group_by not in row:
            raise ValueError(f"{where}: no field {text.group_by!r} to group by; the row has {', '.join(row)}")
        group = None if text.group_by is None else _group(str(row[text.group_by]))
        found.append(Document(int(where.rpartition(":")[2]), said, group))
    if len(found) < 2:
        raise ValueError(f"{text.path.name}: {len(found)} documents; an interval needs at least 2")
    return [found[number] for number in drawn(len(found), text.limit, limit_seed)], len(found)


def _group(value: str) -> str:
    host = urlsplit(value).hostname if "://" in value else None
    return re.sub(r"[^\w.-]", "_", host or value)


@torch.no_grad()
def _measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    documents: Sequence[Document],
    context: int,
    name: str,
) -> list[Measured]:
    ids = prompt_tokens(tokenizer, [each.text for each in documents], plain_template="{question}", chat=False)
    pieces = [(number, *piece) for number, row in enumerate(ids) for piece in _pieces(row, context)]
    pieces.sort(key=lambda piece: len(piece[1]))  # neighbours of one length hardly need padding
    nats = [0.0] * len(documents)
    model.eval()
    with progress(f"evaluate: bits per byte, {name}", total=len(pieces), unit="pieces") as bar:
        while pieces:
            longest = len(pieces[-1][1])
            logits = longest * model.config.get_text_config().vocab_size
            batch = pieces[-max(1, logits_per_batch(model.device) // logits) :]
            del pieces[-len(batch) :]
            padded = torch.tensor([piece + [0] * (longest - len(piece)) for _, piece, _ in batch])
            targets = torch.tensor(
                [
                    [NOT_TEXT] * seen + piece[seen + 1 :] + [NOT_TEXT] * (longest - len(piece))
                    for _, piece, seen in batch
                ]
            )
            found = nats_of_targets(model, padded[:, :-1], targets, {}).reshape(targets.shape).sum(axis=1)
            for (number, _, _), value in zip(batch, found.tolist(), strict=True):
                nats[number] += value
                bar.advance()
    return [Measured(document, value) for document, value in zip(documents, nats, strict=True)]


def _pieces(ids: list[int], context: int) -> Iterator[tuple[list[int], int]]:
    """At most context + 1 tokens each, and how many of a piece's targets an earlier piece had."""
    for start in range(0, len(ids) - 1, context):
        end = min(start + context + 1, len(ids))
        begin = max(0, end - context - 1)
        yield ids[begin:end], start - begin


def _metrics(name: str, measured: Sequence[Measured], seed: int) -> dict[str, float]:
    metrics = {**_bits_per_byte(measured, seed).metrics(f"{name}_bits_per_byte"), f"{name}_n": float(len(measured))}
    groups: dict[str, list[Measured]] = defaultdict(list)
    for one in measured:
        if one.document.group is not None:
            groups[one.document.group].append(one)
    largest = sorted(groups.items(), key=lambda group: (-sum(one.document.bytes for one in group[1]), group[0]))
    for group, members in largest[:GROUPS]:
        key = f"{name}_bits_per_byte_{group}"
        alone = len(members) < 2
        metrics |= (
            {key: members[0].bits / members[0].document.bytes} if alone else _bits_per_byte(members, seed).metrics(key)
        )
    return metrics


def _bits_per_byte(measured: Sequence[Measured], seed: int) -> Interval:
    return ratio_interval([one.bits for one in measured], [one.document.bytes for one in measured], seed=seed)


def _minus_parent(measured: Sequence[Measured], name: str, parent: Path, seed: int) -> Interval:
    """On the same documents, document by document."""
    rows = pq.read_table(parent / DOCUMENTS).to_pylist()
    before = {row["row"]: row["nats"] / math.log(2) for row in rows if row["text"] == name}
    change = [one.bits - before[one.document.row] for one in measured]
    return ratio_interval(change, [one.document.bytes for one in measured], seed=seed)


def _details_of(evaluation: Path | None) -> dict[str, Any]:
    if evaluation is None or not (evaluation / DOCUMENTS).is_file():
        return {}
    return Report.model_validate_json((evaluation / RESULT).read_bytes()).details.get("texts", {})
