"""Multiple choice: a model ranks the choices by log-probability; two baselines answer the same items without one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gristmill.evaluate.baselines import expected_correct, shared_words, shortness
from gristmill.evaluate.branches import Branches
from gristmill.evaluate.chat_format import encode_prompts, end_of_turn
from gristmill.evaluate.config import JsonlItems, MultipleChoice
from gristmill.evaluate.logps import completion_logps
from gristmill.evaluate.statistics import mean_interval, paired_difference
from gristmill.fingerprint import read_sha256
from gristmill.jsonl import read_jsonl
from gristmill.progress import progress

CHOICES_PER_NEUTRAL_ROW = 8


@dataclass(frozen=True)
class Item:
    """A question, its choices, and which of them is right. row: number of its line, from 1."""

    item_id: str
    row: int
    question: str
    choices: list[str]
    answer: int


def items_file(benchmark: MultipleChoice, examples: Path | None) -> Path:
    """Where the benchmark's items stand. Raises ValueError when that is a folder that was not given."""
    if isinstance(benchmark.data, JsonlItems):
        return benchmark.data.path
    if examples is None:
        raise ValueError(f"{benchmark.name}: data.kind is `examples` but no examples folder was given; give one")
    return examples / "benchmark.jsonl"


def read_items(path: Path) -> list[Item]:
    """A file's items. Raises ValueError naming file and line, or when there are fewer than two."""
    items: dict[str, Item] = {}
    for where, row in read_jsonl(path):
        item = _item(row, where)
        if item.item_id in items:
            raise ValueError(
                f"{where}: the id {item.item_id!r} stands twice; comparisons pair items by id, so rename one"
            )
        items[item.item_id] = item
    if len(items) < 2:
        raise ValueError(f"{path.name}: {len(items)} items; an interval needs at least 2, and a useful one hundreds")
    return list(items.values())


def answer_items(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[Item],
    benchmark: MultipleChoice,
    *,
    chat: bool,
) -> list[dict[str, Any]]:
    """One row of items.parquet for each item: scores, what was chosen, and whether the baselines were right."""
    context = model.config.get_text_config().max_position_embeddings
    choices = _choice_tokens(tokenizer, items, chat=chat)
    prompts = prompt_tokens(
        tokenizer, [item.question for item in items], plain_template=benchmark.plain_template, chat=chat
    )
    asked = [
        _fitted(prompt, [choices[choice] for choice in item.choices], context)
        for prompt, item in zip(prompts, items, strict=True)
    ]
    with progress(f"evaluate: {benchmark.name}", total=len(asked), unit="items") as bar:
        logps = completion_logps(model, asked, bar=bar)
    neutral = {}
    if benchmark.score == "mutual_information":
        neutral = _neutral_logps(model, tokenizer, choices, benchmark, chat=chat)
    rows = []
    for item, of_choices in zip(items, logps, strict=True):
        scores = [
            _score(logp, choice, benchmark, neutral) for logp, choice in zip(of_choices, item.choices, strict=True)
        ]
        rows.append(
            {
                "benchmark": benchmark.name,
                "id": item.item_id,
                "row": item.row if isinstance(benchmark.data, JsonlItems) else None,
                "scores": scores,
                "chosen": max(range(len(scores)), key=scores.__getitem__),
                "answer": item.answer,
                "correct": expected_correct(scores, item.answer),
                "word_overlap": expected_correct(shared_words(item.question, item.choices), item.answer),
                "shortest": expected_correct(shortness(item.choices), item.answer),
            }
        )
    return rows


def asked_facts(
    tokenizer: PreTrainedTokenizerBase, path: Path, first: Item, benchmark: MultipleChoice, *, chat: bool
) -> dict[str, Any]:
    """For the report's details: how the items of a file were asked, the first of them word for word."""
    (prompt,) = prompt_tokens(tokenizer, [first.question], plain_template=benchmark.plain_template, chat=chat)
    return {
        "definition": benchmark.definition,
        "data_sha256": read_sha256(path),
        "chat": chat,
        "prefix_token": None if chat else tokenizer.decode(prompt[:1]),
        "first_request": [tokenizer.decode(prompt), first.choices[0]],
    }


def choice_metrics(rows: Sequence[dict[str, Any]], *, seed: int) -> dict[str, float]:
    """Accuracy with its interval, both baselines, and the paired difference to the better one, of one benchmark."""
    name = rows[0]["benchmark"]
    correct = [row["correct"] for row in rows]
    baselines = {kind: [row[kind] for row in rows] for kind in ("word_overlap", "shortest")}
    better = max(baselines.values(), key=sum)
    return {
        **mean_interval(correct, seed=seed).metrics(f"{name}_accuracy"),
        **{f"{name}_{kind}": sum(right) / len(right) for kind, right in baselines.items()},
        **paired_difference(correct, better, seed=seed).metrics(f"{name}_accuracy_minus_baseline"),
        f"{name}_n": float(len(rows)),
    }


def _item(row: dict[str, Any], where: str) -> Item:
    question, choices, answer = row.get("question"), row.get("choices"), row.get("answer")
    if not isinstance(question, str) or not isinstance(choices, list) or not isinstance(answer, int):
        raise ValueError(f"{where}: expected question (text), choices (a list) and answer (an index)")
    if len(choices) < 2 or not all(isinstance(choice, str) and choice for choice in choices):
        raise ValueError(f"{where}: expected at least two choices of text, found {str(choices)[:80]}")
    if not 0 <= answer < len(choices):
        raise ValueError(f"{where}: answer={answer} but the choices are numbered 0 to {len(choices) - 1}")
    return Item(str(row.get("id", where)), int(where.rpartition(":")[2]), question, choices, answer)


def _choice_tokens(tokenizer: PreTrainedTokenizerBase, items: Sequence[Item], *, chat: bool) -> dict[str, list[int]]:
    """Token ids of each distinct choice; in chat with the end of the turn, as a complete answer."""
    distinct = list(dict.fromkeys(choice for item in items for choice in item.choices))
    end = end_of_turn(tokenizer) if chat else []
    encoded = tokenizer(distinct, add_special_tokens=False)["input_ids"]
    return {choice: [*ids, *end] for choice, ids in zip(distinct, encoded, strict=True)}


def prompt_tokens(
    tokenizer: PreTrainedTokenizerBase, questions: Sequence[str], *, plain_template: str, chat: bool
) -> list[list[int]]:
    """Each question as the user's turn, up to where the assistant speaks; or in the plain template, as a document."""
    if chat:
        return encode_prompts(tokenizer, [[{"role": "user", "content": question}] for question in questions])
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    assert isinstance(start, int), "a tokenizer without bos and eos cannot have made token shards"
    texts = [plain_template.replace("{question}", question) for question in questions]
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    return [[start, *ids] for ids in encoded]


def _neutral_logps(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    choices: dict[str, list[int]],
    benchmark: MultipleChoice,
    *,
    chat: bool,
) -> dict[str, float]:
    """ln p(choice | neutral question), once for each distinct choice."""
    (prompt,) = prompt_tokens(
        tokenizer, [benchmark.neutral_question], plain_template=benchmark.plain_template, chat=chat
    )
    # neighbours of similar length, so that rows of one batch hardly need padding
    order = sorted(choices, key=lambda choice: (len(choices[choice]), choice))
    groups = [order[first : first + CHOICES_PER_NEUTRAL_ROW] for first in range(0, len(order), CHOICES_PER_NEUTRAL_ROW)]
    with progress(f"evaluate: {benchmark.name}, neutral", total=len(groups), unit="rows") as bar:
        logps = completion_logps(model, [Branches(prompt, [choices[c] for c in group]) for group in groups], bar=bar)
    return {
        choice: logp
        for group, found in zip(groups, logps, strict=True)
        for choice, logp in zip(group, found, strict=True)
    }


def _fitted(prompt: list[int], choices: list[list[int]], context: int) -> Branches:
    """The prompt's end, where prompt and longest choice together exceed the model's context."""
    room = context - max(len(choice) for choice in choices)
    if room < 1:
        raise ValueError(
            f"a choice has {context - room} tokens, but the model was made for {context}; leave the item out"
        )
    return Branches(prompt[-room:], choices)


def _score(logp: float, choice: str, benchmark: MultipleChoice, neutral: dict[str, float]) -> float:
    if benchmark.score == "per_byte":
        return logp / len(choice.encode())
    if benchmark.score == "mutual_information":
        return logp - neutral[choice]
    return logp
