"""A text as token shards whose tokens are its bytes, for benchmarks of training that need no tokenizer of their own."""

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.tokens.pack import INDEX_SCHEMA

VOCAB_SIZE = 257
BOUNDARY = 256
"""The one special token: begins each row, ends documents, pads."""


def shakespeare(data: Path) -> bytes:
    return gzip.decompress((data / "text" / "tinyshakespeare.txt.gz").read_bytes())


def write_byte_tokens(text: bytes, folder: Path, *, seq_len: int) -> None:
    """Fill `folder` with `tokens` and `tokenizer`; the last tenth of the rows is for validation."""
    count = len(text) // seq_len
    rows = np.full((count, seq_len + 1), BOUNDARY, np.uint16)
    rows[:, 1:] = np.frombuffer(text[: count * seq_len], np.uint8).reshape(count, seq_len)
    parts = {"train": rows[: -count // 10], "validation": rows[-count // 10 :]}
    digest = hashlib.sha256(rows.tobytes()).hexdigest()
    write_shards(parts, folder, token_bytes=[1] * 256 + [0], special=BOUNDARY, digest=digest)


def write_shards(
    parts: dict[str, NDArray[np.uint16]], folder: Path, *, token_bytes: list[int], special: int, digest: str
) -> None:
    """Fill `folder` with `tokens`, rows [rows, seq_len + 1] by split, and `tokenizer`, a word for each token.

    special: the token that begins and ends documents, and pads. digest: decides the order of rows in training.
    """
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    tokens, pieces = folder / "tokens", []
    for split, rows in parts.items():
        (tokens / split).mkdir(parents=True, exist_ok=True)
        np.save(tokens / split / "tokens-00000.npy", rows)
        place = {"split": split, "start": 0, "length": rows.shape[1], "source": "text", "language": "en"}
        pieces += [place | {"row": row, "doc_id": f"{split}-{row}", "continuation": False} for row in range(len(rows))]
    pq.write_table(pa.Table.from_pylist(pieces, schema=INDEX_SCHEMA), tokens / "index.parquet")
    np.save(tokens / "token_bytes.npy", np.array(token_bytes, np.int32))
    meta = {
        "vocab_size": len(token_bytes),
        "seq_len": next(iter(parts.values())).shape[1] - 1,
        **dict.fromkeys(("bos_id", "eos_id", "pad_id"), special),
        "digest": digest,
        "splits": {split: {"rows": len(rows), "tokens": rows.size} for split, rows in parts.items()},
    }
    (tokens / "meta.json").write_text(json.dumps(meta))
    words = {f"<{token}>": token for token in range(len(token_bytes))}
    named = Tokenizer(models.WordLevel(words, unk_token="<0>"))
    PreTrainedTokenizerFast(tokenizer_object=named, eos_token=f"<{special}>").save_pretrained(folder / "tokenizer")
