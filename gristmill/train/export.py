"""The finished run: a Hugging Face model folder, complete with its tokenizer; `result.json` is written last."""

import shutil
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from gristmill.folder_swap import sync
from gristmill.report import Report

RESULT = "result.json"
TOKENIZER_NEEDED = ("tokenizer.json", "tokenizer_config.json")
TOKENIZER_OPTIONAL = ("chat_template.jinja", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt")
ENDS_OF_TEXT = ("<|im_end|>", "<|endoftext|>")


def check_tokenizer(folder: Path) -> None:
    """Raises ValueError when the folder is no tokenizer: at the start of a run, not after hours of it."""
    missing = [name for name in TOKENIZER_NEEDED if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder}: {', '.join(missing)} not found; expected the folder of a Hugging Face tokenizer")


def export_model(
    model: PreTrainedModel,
    tokenizer: Path,
    out: Path,
    *,
    weights: dict[str, Tensor] | None = None,
    meta: dict[str, Any],
    report: Report,
) -> None:
    """Fill `out` with weights, configurations and tokenizer, then write result.json.

    weights: the model's state, where the model itself holds only a part of it. meta: the token shards' bos_id, eos_id
    and pad_id. report: what result.json holds.
    """
    model.generation_config = GenerationConfig(
        bos_token_id=meta["bos_id"], eos_token_id=_end_ids(tokenizer, meta["eos_id"]), pad_token_id=meta["pad_id"]
    )
    disable_progress_bar()
    model.save_pretrained(out, state_dict=weights, max_shard_size="1000GB")
    (out / "model.safetensors").chmod(0o644)  # safetensors makes it readable by its owner only
    for name in (*TOKENIZER_NEEDED, *TOKENIZER_OPTIONAL):
        if (tokenizer / name).is_file():
            shutil.copyfile(tokenizer / name, out / name)
    draft = out / f"{RESULT}.tmp"
    draft.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    for path in (*(path for path in out.iterdir() if path.is_file()), out):
        sync(path)  # result.json says that everything else is there: that goes to the disk first
    draft.rename(out / RESULT)


def _end_ids(tokenizer: Path, eos_id: int) -> list[int]:
    """Generation ends at the end of a turn, of a document, or at what the shards end documents with."""
    known = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    ids = [known.token_to_id(token) for token in ENDS_OF_TEXT]
    return sorted({eos_id, *(found for found in ids if found is not None)})
