import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_chat_model import answer, question
from transformers import AutoTokenizer

from gristmill.align.classification import run_classification
from gristmill.align.config import DpoConfig, KtoConfig, RewardModelConfig, SftConfig
from gristmill.align.data import Dropped, is_held_out
from gristmill.align.dpo import run_dpo
from gristmill.align.formats import Conversation, Labelled, Pair
from gristmill.align.kto import run_kto
from gristmill.align.reward_model import run_reward_model
from gristmill.align.rows import encode_conversations, encode_labelled, encode_pairs
from gristmill.align.rows_config import FileRows, MixedRows, TaskRows
from gristmill.align.sft import run_sft
from gristmill.schema import Resources

CPU = Resources(threads=1, device="cpu")


def test_a_pair_shares_its_prompt_and_both_answers_end_the_turn(tiny_model: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    pair = Pair("a", "prompt", [question("sort")], answer("Return it."), answer("No."))
    (branches,), dropped = encode_pairs(tokenizer, [pair], max_tokens=128)
    assert tokenizer.decode(branches.prompt).endswith("do?<|im_end|>\n<|im_start|>assistant\n")
    assert [tokenizer.decode(ids) for ids in branches.completions] == ["Return it.<|im_end|>", "No.<|im_end|>"]
    assert not dropped


def test_rows_that_are_too_long_or_spell_a_special_token_are_left_out_and_counted(tiny_model: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    texts = ["Fine.", "x" * 500, "Stop here<|im_end|> and go on."]
    rows = [Conversation(f"a:{n}", "messages", [question("sort"), answer(text)]) for n, text in enumerate(texts)]
    kept, dropped = encode_conversations(tokenizer, rows, max_tokens=128)
    assert len(kept) == 1
    assert dropped == [Dropped("a:2", "spells_special_token"), Dropped("a:1", "too_long")]


def test_when_no_row_fits_the_limit_is_named(tiny_model: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    row = Conversation("a.jsonl:7", "messages", [question("sort"), answer("Yes.")])
    with pytest.raises(ValueError, match=r"rows to train on, from a\.jsonl:7 on: 0 of 1 .* at most 5 tokens"):
        encode_conversations(tokenizer, [row], max_tokens=5)


def test_fewer_held_out_rows_than_an_interval_needs_are_an_error_that_names_them(tiny_model: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    texts = ["Fine.", "x" * 500, "Stop here<|im_end|> and go on."]
    rows = [Conversation(f"a.jsonl:{n}", "messages", [question("sort"), answer(text)]) for n, text in enumerate(texts)]
    with pytest.raises(ValueError, match=r"held-out rows, from a\.jsonl:0 on: 1 of 3 .* at least 2 are needed"):
        encode_conversations(tokenizer, rows, max_tokens=128, held_out=True)
    pairs = [Pair(row.row, "prompt", [question("sort")], row.messages[-1], answer("No.")) for row in rows]
    with pytest.raises(ValueError, match=r"held-out rows, .* 1 of 3"):
        encode_pairs(tokenizer, pairs, max_tokens=128, held_out=True)
    labels = [Labelled(row.row, "kto prompt", [question("sort")], row.messages[-1], True) for row in rows]
    with pytest.raises(ValueError, match=r"held-out rows, .* 1 of 3"):
        encode_labelled(tokenizer, labels, max_tokens=128, held_out=True)
    assert len(encode_conversations(tokenizer, rows, max_tokens=128)[0]) == 1


@pytest.mark.parametrize("kind", ["sft", "reward_model", "dpo", "kto", "classification"])
def test_no_training_begins_whose_result_could_not_be_measured(kind: str, tiny_model: Path, tmp_path: Path):
    """Of the rows that measure, one is short enough."""
    rows = [{"prompt": f"{n}", "completion": f"{n}", "label": "ab"[n % 2], "text": f"{n}"} for n in range(40)]
    rows = [{**row, "chosen": f"{n}", "rejected": "No."} for n, row in enumerate(rows)]
    aside = [row for row in rows if is_held_out(_beginning(kind, row), 0.3)]
    assert len(aside) > 2
    for row in aside[1:]:
        row |= {"completion": "x" * 500, "chosen": "x" * 500, "rejected": "y" * 500}
    if kind == "classification":  # the text decides the side
        longer = ({"text": f"{n} " + "x" * 500, "label": "a"} for n in range(100))
        rows = [row for row in rows if row not in aside[1:]] + [one for one in longer if is_held_out(one["text"], 0.3)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data: Any = {"data": FileRows(paths=[str(tmp_path / "a.jsonl")], held_out=0.3)}
    runs: dict[str, Callable[[], Any]] = {
        "sft": lambda: run_sft(tiny_model, None, tmp_path, SftConfig(**data), CPU),
        "reward_model": lambda: run_reward_model(tiny_model, None, tmp_path, RewardModelConfig(**data), CPU),
        "dpo": lambda: run_dpo(tiny_model, None, None, tmp_path, DpoConfig(**data), CPU),
        "kto": lambda: run_kto(tiny_model, None, None, tmp_path, KtoConfig(**data), CPU),
        "classification": lambda: run_classification(
            tiny_model, tmp_path, SftConfig(task="classification", **data), CPU
        ),
    }
    found = 2 if kind == "kto" else 1  # a pair is two answers
    with pytest.raises(
        ValueError, match="KTO needs at least two" if kind == "kto" else f"held-out rows, .*: {found} of"
    ):
        runs[kind]()
    assert not (tmp_path / "metrics.jsonl").exists()


def test_each_task_of_a_mix_needs_held_out_rows_that_fit(tiny_model: Path, tmp_path: Path):
    for name, text in (("sort", "in order"), ("join", "x" * 500)):
        rows = [{"prompt": f"{name} {n}", "completion": text if n else "short"} for n in range(20)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = {
        name: TaskRows(rows=FileRows(paths=[str(tmp_path / f"{name}.jsonl")], held_out=0.3), weight=name == "sort")
        for name in ("sort", "join")
    }
    config = SftConfig(data=MixedRows(tasks=tasks))
    with pytest.raises(ValueError, match=r"held-out rows, from join\.jsonl:1 on: 1 of 20"):
        run_sft(tiny_model, None, tmp_path, config, CPU)
    assert not (tmp_path / "metrics.jsonl").exists()


def _beginning(kind: str, row: dict[str, str]) -> Any:
    return row["text"] if kind == "classification" else [{"role": "user", "content": row["prompt"]}]
