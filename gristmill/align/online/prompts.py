"""Prompts to answer, as text and as token ids, and which of them are held out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any

import numpy as np

from gristmill.align.data import BENCHMARK_ITEM, NOT_UNICODE, Dropped, is_held_out, is_unicode
from gristmill.align.online.prompts_config import AskingConfig, JsonlPrompts
from gristmill.align.rows import SPELLS_SPECIAL_TOKEN, TOO_LONG
from gristmill.dedup.decontaminate_config import KeptOut
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

    @property
    def whole(self) -> str:
        return f"{self.text}\n{self.reference or ''}"


def read_prompts(
    config: AskingConfig,
    examples: Path | None,
    tokenizer: "Tokenizer",
    *,
    room: int,
    kept_out: KeptOut | None = None,
) -> tuple[list[Prompt], list[Prompt], list[Dropped]]:
    """Prompts to train on and held-out ones, encoded, and what was left out.

    room: tokens that a prompt may have. kept_out: prompts that hold one of these items do not train.

    Raises ValueError naming file and line, or when a part is empty.
    """
    dropped: list[Dropped] = []
    read = _from_jsonl(config.prompts) if isinstance(config.prompts, JsonlPrompts) else _examples(examples)
    train, held_out = (_clean(part, tokenizer, dropped) for part in read)
    train = _without_items(train, kept_out, dropped) if kept_out else train
    chosen = set(np.random.default_rng(config.seed).permutation(len(train))[: config.few_shot].tolist())
    shown = [prompt for number, prompt in enumerate(train) if number in chosen]
    train = [prompt for number, prompt in enumerate(train) if number not in chosen]
    parts = [_encoded(part, shown, config, tokenizer) for part in (train, held_out[: config.held_out_prompts])]
    fitting = [[prompt for prompt in part if len(prompt.ids) <= room] for part in parts]
    dropped += [Dropped(prompt.row_id, TOO_LONG) for part in parts for prompt in part if len(prompt.ids) > room]
    if not fitting[0] or len(fitting[1]) < 2:
        reasons = Counter(one.reason for one in dropped).items()
        raise ValueError(
            f"prompts: {len(fitting[0])} to train on and {len(fitting[1])} held out have at most {room} tokens (the "
            "model's context less max_new_tokens); at least 1 and 2 are needed: give more rows or shorter ones"
            + "".join(f"; left out as {reason}: {count}" for reason, count in reasons)
        )
    return fitting[0], fitting[1], dropped


def _clean(prompts: list[Prompt], tokenizer: "Tokenizer", dropped: list[Dropped]) -> list[Prompt]:
    """Those of whole characters that spell no special token, nor does their reference, which few-shot prompts show."""
    dropped += [Dropped(one.row_id, NOT_UNICODE) for one in prompts if not is_unicode(one.whole)]
    prompts = [one for one in prompts if is_unicode(one.whole)]
    texts = ([{"content": prompt.text}, {"content": prompt.reference or ""}] for prompt in prompts)
    spells = spell_special_tokens(tokenizer, texts)
    dropped += [Dropped(one.row_id, SPELLS_SPECIAL_TOKEN) for one, bad in zip(prompts, spells, strict=True) if bad]
    return [prompt for prompt, bad in zip(prompts, spells, strict=True) if not bad]


def _without_items(prompts: list[Prompt], kept_out: KeptOut, dropped: list[Dropped]) -> list[Prompt]:
    found = items_in_rows([prompt.whole for prompt in prompts], [prompt.text for prompt in prompts], kept_out)
    dropped += [Dropped(prompts[number].row_id, BENCHMARK_ITEM, item) for number, item in found.items()]
    return [prompt for number, prompt in enumerate(prompts) if number not in found]


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
