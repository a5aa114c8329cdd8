"""What `gristmill plan` says of pretraining: every value with its origin, sizes, arithmetic, memory, time and cost."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gristmill.config import PipelineConfig
from gristmill.metrics import read_metrics
from gristmill.report import Report
from gristmill.schema import Schema
from gristmill.store import ArtifactStore
from gristmill.tokens.config import ExistingTokenizer, PinnedTokenizer, TrainedTokenizer
from gristmill.tokens.vocab_size import optimal_vocab_size
from gristmill.train.cost import flops_per_token, memory_of, parameters_of
from gristmill.train.dial import facts_of, resolve
from gristmill.train.speed import EarlierRun, expected_speed

Value = dict[str, Any]


def training_plan(config: PipelineConfig, store: ArtifactStore) -> dict[str, Any] | None:
    """`values`: name, value and origin ("given" or "derived") of each; `estimates` of the run.

    None where the model exists already: its shape is its own, and the program says what it makes of it. Without a
    vocabulary, that is with a tokenizer that is not there yet, the estimates are left out.
    """
    if config.model.start.kind != "scratch":
        return None
    shape, seq_len = config.model.shape, config.tokenize.seq_len
    sizes = [name for name, size in shape if size or name == "tie_embeddings"]  # 0: not of this family
    resolved = resolve(config.pretrain, facts_of(shape, seq_len=seq_len))
    vocab_size = _vocab_size(config, store)
    values = [
        *_values("model", config.model, shape, names=sizes),
        _vocabulary(config, vocab_size),
        {"name": "tokenize.seq_len", "value": seq_len, "origin": "given"},
        *_values("pretrain", config.pretrain, resolved, names=("tokens", "batch_rows")),
        {"name": "pretrain.steps", "value": resolved.steps(seq_len), "origin": "derived"},
        *_values("pretrain.optim", config.pretrain.optim, resolved.optim),
        *_values("pretrain.schedule", config.pretrain.schedule, resolved.schedule),
    ]
    plan: dict[str, Any] = {"values": values, "vocab_size_advice": optimal_vocab_size(shape)}
    if vocab_size is None or resolved.tokens is None or resolved.batch_rows is None:
        return plan
    resources = config.resources
    # what `auto` is on every GPU with a known peak, and on recent server processors
    precision = "bf16" if resolved.precision == "auto" else resolved.precision
    parameters = parameters_of(shape, vocab_size=vocab_size, seq_len=seq_len)
    per_token = flops_per_token(shape, vocab_size, seq_len)
    memory = memory_of(
        shape,
        vocab_size=vocab_size,
        seq_len=seq_len,
        micro_rows=min(resolved.micro_rows, -(-resolved.batch_rows // resources.processes)),
        precision=precision,
        optimizer=resolved.optim.kind,
    )
    speed = expected_speed(
        _earlier_runs(config, store),
        resources,
        parameters=parameters.total,
        flops_per_token=per_token,
        precision=precision,
    )
    tokens = resolved.steps(seq_len) * resolved.batch_rows * seq_len
    hours = tokens / speed.tokens_per_s / 3600 if speed.tokens_per_s else None
    price = config.prices.machine_hour
    plan["estimates"] = {
        "parameters": {**asdict(parameters), "total": parameters.total},
        "flops": per_token * tokens,
        "memory_bytes": {**asdict(memory), "total": memory.total},
        "tokens_per_s": speed.tokens_per_s,
        "tokens_per_s_basis": speed.basis,
        "hours": hours,
        "price": hours * price if hours is not None and price is not None else None,
    }
    return plan


def training_lines(plan: dict[str, Any]) -> list[str]:
    """The plan as text: values in one paragraph by origin, then the estimates."""
    lines = []
    for origin in ("given", "derived"):
        named = [f"{value['name']} {_number(value['value'])}" for value in plan["values"] if value["origin"] == origin]
        lines.append(f"{origin}: " + ", ".join(named))
    lines.append(f"a vocabulary for this size: about {plan['vocab_size_advice']:,} (train_tokenizer.vocab_size: auto)")
    if "estimates" not in plan:
        return [*lines, "sizes and time: known when the tokenizer is there"]
    estimates = plan["estimates"]
    sizes, memory = estimates["parameters"], estimates["memory_bytes"]
    lines.append(
        f"parameters: {sizes['total']:,} = layers {sizes['layers']:,} + vocabulary {sizes['vocabulary']:,}; a token "
        f"meets {sizes['active']:,}; {estimates['flops']:.3g} FLOPs"
    )
    parts = ", ".join(f"{name} {size / 1e6:,.0f}" for name, size in memory.items() if name != "total")
    lines.append(f"memory of a process: about {memory['total'] / 1e6:,.0f} MB: {parts}")
    if estimates["hours"] is None:
        return [*lines, f"time: unknown, {estimates['tokens_per_s_basis']}"]
    price = f", price {estimates['price']:,.2f}" if estimates["price"] is not None else ""
    lines.append(
        f"time: about {_duration(estimates['hours'])}{price}, at {estimates['tokens_per_s']:,.0f} tokens/s "
        f"({estimates['tokens_per_s_basis']})"
    )
    return lines


def _values(section: str, given: Schema, resolved: Schema, names: Iterable[str] | None = None) -> list[Value]:
    """Those of these fields; without names of all that may be null, since others have a default of their own."""
    shown = names or [name for name, field in type(given).model_fields.items() if field.default is None]
    return [
        {
            "name": f"{section}.{name}",
            "value": getattr(resolved, name),
            "origin": "derived" if getattr(given, name) is None else "given",
        }
        for name in shown
    ]


def _vocabulary(config: PipelineConfig, vocab_size: int | None) -> Value:
    trained = config.train_tokenizer
    derived = isinstance(trained, TrainedTokenizer) and trained.vocab_size == "auto"
    name = "train_tokenizer.vocab_size"
    return {"name": name, "value": vocab_size, "origin": "derived" if derived else "given"}


def _vocab_size(config: PipelineConfig, store: ArtifactStore) -> int | None:
    tokenizer = config.tokenizer
    if isinstance(tokenizer, TrainedTokenizer):
        assert tokenizer.vocab_size != "auto"
        return tokenizer.vocab_size
    if isinstance(tokenizer, PinnedTokenizer):
        return _tokens_in(store.path(tokenizer.artifact))
    assert tokenizer.path, "that of the model to start from, and there is none"
    known = _tokens_in(Path(tokenizer.path))
    return known if known is None or isinstance(tokenizer, ExistingTokenizer) else known + tokenizer.new_tokens


def _tokens_in(folder: Path) -> int | None:
    try:
        tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    ids = {token["id"] for token in tokenizer["added_tokens"]} | set(tokenizer["model"]["vocab"].values())
    return max(ids) + 1


def _earlier_runs(config: PipelineConfig, store: ArtifactStore) -> list[EarlierRun]:
    """Pretrainings of this store in the same precision, with as many threads, processes and machines of that kind.

    The seconds are those of the whole run, as it logged them: a record has those since it was last resumed.
    """
    here, precision = config.resources.model_dump(), config.pretrain.precision
    alike = ("device", "threads", "processes", "nodes")
    runs = []
    for record in store.records():
        if record.label != "pretrain" or any(record.resources.get(name) != here[name] for name in alike):
            continue
        report = store.report(record.address)
        rows = read_metrics(store.path(record.address) / "metrics.jsonl")
        timed = next((row for row in reversed(rows) if "elapsed_s" in row and "tokens" in row), None)
        if timed and _precision(report, auto=precision == "auto") == precision:
            parameters = int(report.metrics["parameters"])
            runs.append(EarlierRun(record.address, parameters, timed["tokens"], timed["elapsed_s"]))
    return runs


def _precision(report: Report, *, auto: bool) -> str | None:
    """That of a pretraining. auto: as its configuration had it; what `auto` comes to is known to the device alone."""
    return report.details.get("resolved", {}).get("precision") if auto else report.details.get("precision")


def _number(value: Any) -> str:
    if isinstance(value, bool | str):
        return str(value).lower()
    return "unknown" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _duration(hours: float) -> str:
    if hours < 1 / 30:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 2 else f"{hours:,.1f} h"
