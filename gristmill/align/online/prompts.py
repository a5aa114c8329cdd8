"""Prompts to answer, as text and as token ids, and which of them are held out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any

import numpy as np

from gristmill.align.data import BENCHMARK_ITEM, is_held_out
from gristmill.align.online.prompts_config import AskingConfig, JsonlPrompts
from gristmill.align.rows import SPELLS_SPECIAL_TOKEN, TOO_LONG
from gristmill.dedup.decontaminate_config import DecontaminateConfig
from gristmill.dedup.rows import items_in_rows
from gristmill.evaluate.chat_format import encode_prompts, spell_special_tokens
from gristmill.jsonl import read_jsonl

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer


@dataclass(frozen=True)
class Prompt:
    """One question. row: all fields of its line, for rewards that ask for more than the reference."""

    row_id: str
    text: str
    reference: str | None = None
    row: dict[str, Any] = field(default_factory=dict)
    ids: tuple[int, ...] = ()


def read_prompts(
    config: AskingConfig,
    examples: Path | None,
    tokenizer: "Tokenizer",
    *,
    room: int,
    decontaminate: DecontaminateConfig | None = None,
) -> tuple[list[Prompt], list[Prompt], dict[str, int]]:
    """Prompts to train on and held-out ones, encoded, and how many were left out, by reason.

    room: tokens that a prompt may have. decontaminate: prompts that hold one of these benchmark items do not train.

    Raises ValueError naming file and line, or when a part is empty.
    """
    read = _from_jsonl(config.prompts) if isinstance(config.prompts, JsonlPrompts) else _examples(examples)
    train, held_out = (_clean(part, tokenizer) for part in read)
    spelling = sum(map(len, read)) - len(train) - len(held_out)
    texts = [f"{prompt.text}\n{prompt.reference or ''}" for prompt in train]
    asked = items_in_rows(texts, texts, examples, decontaminate) if decontaminate else {}
    train = [prompt for number, prompt in enumerate(train) if number not in asked]
    chosen = set(np.random.default_rng(config.seed).permutation(len(train))[: config.few_shot].tolist())
    shown = [prompt for number, prompt in enumerate(train) if number in chosen]
    train = [prompt for number, prompt in enumerate(train) if number not in chosen]
    parts = [_encoded(part, shown, config, tokenizer) for part in (train, held_out[: config.held_out_prompts])]
    fitting = [[prompt for prompt in part if len(prompt.ids) <= room] for part in parts]
    if not fitting[0] or len(fitting[1]) < 2:
        raise ValueError(
            f"prompts: {len(fitting[0])} to train on and {len(fitting[1])} held out have at most {room} tokens (the "
            "model's context less max_new_tokens); at least 1 and 2 are needed: give more rows or shorter ones"
            + (f" ({spelling} that spell a special token were left out)" if spelling else "")
        )
    too_long = sum(map(len, parts)) - sum(map(len, fitting))
    dropped = {SPELLS_SPECIAL_TOKEN: spelling, BENCHMARK_ITEM: len(asked), TOO_LONG: too_long}
    return fitting[0], fitting[1], {reason: count for reason, count in dropped.items() if count}


def _clean(prompts: list[Prompt], tokenizer: "Tokenizer") -> list[Prompt]:
    """Those that spell no special token, nor does their reference, which few-shot prompts show."""
    texts = ([{"content": prompt.text}, {"content": prompt.reference or ""}] for prompt in prompts)
    spells = spell_special_tokens(tokenizer, texts)
    return [prompt for prompt, bad in zip(prompts, spells, strict=True) if not bad]


def _from_jsonl(source: JsonlPrompts) -> tuple[list[Prompt], list[Prompt]]:
    train: list[Prompt] = []
    held_out: list[Prompt] = []
    for where, row in read_jsonl(source.path):
        text = _filled(source.prompt, row, where)
        reference = _filled(source.reference, row, where) if source.reference else None
        measures = is_held_out([{"role": "user", "content": text}], source.held_out)
        (held_out if measures else train).append(Prompt(str(row.get("id", where)), text, reference, row))
    return train, held_out


def _examples(folder: Path | None) -> tuple[list[Prompt], list[Prompt]]:
    if folder is None:
        raise ValueError("prompts.kind is `examples` but no examples folder was given; give one, or use kind: jsonl")
    parts = []
    for name in ("sft.jsonl", "sft_held_out.jsonl"):
        prompts = []
        for where, row in read_jsonl(folder / name):
            *asked, answer = row["messages"]
            if len(asked) == 1:  # a single question; what came before a later one is not part of its text
                prompts.append(Prompt(str(row.get("id", where)), asked[0]["content"], answer["content"], row))
        parts.append(list({prompt.text: prompt for prompt in prompts}.values()))
    return parts[0], parts[1]


def _filled(template: str, row: dict[str, Any], where: str) -> str:
    wanted = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    missing = [name for name in wanted if name not in row]
    if missing or not all(name.isidentifier() for name in wanted):
        raise ValueError(
            f"{where}: {template!r} asks for {', '.join(missing) or 'more than field names'}; "
            f"the row has {', '.join(sorted(row)[:12])}"
        )
    return "".join(
        before + (str(row[name]) if name is not None else "") for before, name, _, _ in Formatter().parse(template)
    )


def _encoded(
    prompts: list[Prompt], shown: Sequence[Prompt], config: AskingConfig, tokenizer: "Tokenizer"
) -> list[Prompt]:
    unsolved = [prompt.row_id for prompt in shown if prompt.reference is None]
    if unsolved:
        raise ValueError(f"few_shot={config.few_shot} needs references, and row {unsolved[0]} has none")
    if config.chat:
        solved = [
            message
            for prompt in shown
            for message in (
                {"role": "user", "content": prompt.text},
                {"role": "assistant", "content": prompt.reference or ""},
            )
        ]
        asked = [[*solved, {"role": "user", "content": prompt.text}] for prompt in prompts]
        ids = encode_prompts(tokenizer, asked)
    else:
        before = "".join(f"{prompt.text}{prompt.reference}{config.stop or ''}" for prompt in shown)
        ids = [tokenizer(before + prompt.text)["input_ids"] for prompt in prompts]
    return [
        Prompt(prompt.row_id, prompt.text, prompt.reference, prompt.row, tuple(row))
        for prompt, row in zip(prompts, ids, strict=True)
    ]
