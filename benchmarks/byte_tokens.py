"""A text as token shards whose tokens are its bytes, for benchmarks of training that need no tokenizer of their own."""

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np

VOCAB_SIZE = 257
BOUNDARY = 256
"""The one special token: begins each row, ends documents, pads."""


def shakespeare(data: Path) -> bytes:
    return gzip.decompress((data / "text" / "tinyshakespeare.txt.gz").read_bytes())


def write_byte_tokens(text: bytes, folder: Path, *, seq_len: int) -> None:
    """Fill `folder` with `tokens` and `tokenizer`; the last tenth of the rows is for validation."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    count = len(text) // seq_len
    rows = np.full((count, seq_len + 1), BOUNDARY, np.uint16)
    rows[:, 1:] = np.frombuffer(text[: count * seq_len], np.uint8).reshape(count, seq_len)
    splits = {}
    for split, part in (("train", rows[: -count // 10]), ("validation", rows[-count // 10 :])):
        (folder / "tokens" / split).mkdir(parents=True, exist_ok=True)
        np.save(folder / "tokens" / split / "tokens-00000.npy", part)
        splits[split] = {"rows": len(part), "tokens": part.size, "bytes": part[:, 1:].size, "padding": 0}
    np.save(folder / "tokens" / "token_bytes.npy", np.array([1] * 256 + [0], np.int32))
    ids = dict.fromkeys(("bos_id", "eos_id", "pad_id"), BOUNDARY)
    digest = hashlib.sha256(rows.tobytes()).hexdigest()
    meta = {"vocab_size": VOCAB_SIZE, "seq_len": seq_len, **ids, "digest": digest, "splits": splits}
    (folder / "tokens" / "meta.json").write_text(json.dumps(meta))
    names = Tokenizer(models.WordLevel({f"<{byte}>": byte for byte in range(VOCAB_SIZE)}, unk_token="<0>"))
    PreTrainedTokenizerFast(tokenizer_object=names, eos_token=f"<{BOUNDARY}>").save_pretrained(folder / "tokenizer")
