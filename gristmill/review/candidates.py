"""Prompts and answers from JSON lines, and answers sampled from checkpoints, to make a queue of.

A line of prompts is `prompt` (text or messages) with an optional `reference`; chat `messages` that end with the
assistant's, or Alpaca's fields, whose answer is then the reference. A line of a file with answers has `answers` too.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gristmill.evaluate.sampling_config import Sampling
from gristmill.jsonl import read_jsonl
from gristmill.review.queue import Candidate, ChatMessage, ShownAnswer
from gristmill.review.selection import Sampled

MESSAGES = TypeAdapter(list[ChatMessage])
ANSWERS = TypeAdapter(list[ShownAnswer])


def read_candidates(path: Path) -> list[Candidate]:
    """Prompts, with the answers that their lines have. Raises ValueError naming file and line."""
    return [_candidate(row, where) for where, row in read_jsonl(path)]


def sample_answers(
    prompts: Sequence[Candidate],
    models: tuple[tuple[str, Path], tuple[str, Path]],
    *,
    samples: int,
    max_new_tokens: int,
    sampling: Sampling,
    seed: int,
) -> tuple[list[Sampled], Counter[str]]:
    """Each prompt with `samples` answers of each of two models (name, folder), and how many prompts were too long.

    Raises ValueError where a folder is no model that chats.
    """
    import numpy as np

    sides = []
    for place, (_, folder) in enumerate(models):
        draws = np.random.SeedSequence([seed, place]).generate_state(len(prompts) * samples).tolist()
        repeated = [prompt for prompt in prompts for _ in range(samples)]
        texts = _answers(folder, repeated, draws, max_new_tokens=max_new_tokens, sampling=sampling)
        sides.append([texts[first : first + samples] for first in range(0, len(texts), samples)])
    found = []
    names = (models[0][0], models[1][0])
    for prompt, left, right in zip(prompts, *sides, strict=True):
        whole = [[text for text in side if text is not None] for side in (left, right)]
        if all(len(side) == samples for side in whole):
            found.append(Sampled(prompt.prompt, names, (whole[0], whole[1]), prompt.reference))
    return found, +Counter(too_long=len(prompts) - len(found))


def _answers(
    folder: Path,
    prompts: Sequence[Candidate],
    draws: Sequence[int],
    *,
    max_new_tokens: int,
    sampling: Sampling,
) -> list[str | None]:
    """None for a prompt that leaves no room for an answer."""
    from gristmill.evaluate.chat_format import encode_prompts
    from gristmill.evaluate.generation import answers
    from gristmill.serve.chat import ChatModel

    chat = ChatModel(folder)
    encoded = encode_prompts(chat.tokenizer, [[turn.model_dump() for turn in each.prompt] for each in prompts])
    fitting = [number for number, ids in enumerate(encoded) if len(ids) + max_new_tokens <= chat.context]
    made = answers(
        chat.model,
        [encoded[number] for number in fitting],
        max_new_tokens=max_new_tokens,
        stop_ids=chat.stop_ids,
        sampling=sampling,
        seeds=[draws[number] for number in fitting],
    )
    texts: list[str | None] = [None] * len(prompts)
    for number, answer in zip(fitting, made, strict=True):
        texts[number] = str(chat.tokenizer.decode(answer.ids, skip_special_tokens=True)).strip()
    return texts


def _candidate(row: dict[str, Any], where: str) -> Candidate:
    try:
        prompt, reference = _prompt(row, where)
        answers = ANSWERS.validate_python(row.get("answers", []))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if len(answers) not in (0, 2):
        raise ValueError(f"{where}: {len(answers)} answers; a reviewer compares two")
    if not prompt or (reference is not None and not isinstance(reference, str)):
        raise ValueError(f"{where}: expected a prompt, and a reference that is text")
    return Candidate(prompt, answers, reference)


def _prompt(row: dict[str, Any], where: str) -> tuple[list[ChatMessage], Any]:
    if "messages" in row:
        turns = MESSAGES.validate_python(row["messages"])
        ends = bool(turns) and turns[-1].role == "assistant"
        return (turns[:-1], turns[-1].content) if ends else (turns, row.get("reference"))
    if "instruction" in row:
        asked = "\n\n".join(str(row[key]) for key in ("instruction", "input") if row.get(key))
        return [ChatMessage(role="user", content=asked)], row.get("output")
    if isinstance(row.get("prompt"), str):
        return [ChatMessage(role="user", content=row["prompt"])], row.get("reference")
    if "prompt" in row:
        return MESSAGES.validate_python(row["prompt"]), row.get("reference")
    raise ValueError(
        f"{where}: expected `prompt`, `messages` or `instruction`; found the keys "
        f"{', '.join(sorted(row)[:12]) or 'none'}"
    )
