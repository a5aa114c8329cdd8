"""A few greedy answers to fixed prompts, kept to be read side by side, and what can be counted of them."""

import json
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gristmill.align.online.rewards import repetition
from gristmill.evaluate.answer_scores import same_language
from gristmill.evaluate.chat_format import end_of_turn
from gristmill.evaluate.generation import answers, stop_ids
from gristmill.evaluate.multiple_choice import prompt_tokens
from gristmill.evaluate.statistics import mean_interval


def write_samples(
    path: Path,
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    chat: bool,
    max_tokens: int,
    seed: int,
) -> dict[str, float]:
    """One `{"prompt", "answer"}` a line. Returns metrics, none for fewer than two prompts that were answered.

    `samples_words`: length. `samples_repetition`: share of the word triples of an answer that stood in it before.
    `samples_same_language`: share of answers in the prompt's language, an empty one not among them.
    `samples_cut_off`: share that reached `max_tokens`. `samples_too_long`, where there are any: prompts that leave no
    room for so many tokens in the model's context, and are left out.
    """
    room = policy.config.get_text_config().max_position_embeddings - max_tokens
    encoded = prompt_tokens(tokenizer, prompts, plain_template="{question}\n", chat=chat)
    too_long = sum(len(prompt) > room for prompt in encoded)
    metrics = {"samples_too_long": float(too_long)} if too_long else {}
    prompts = [text for text, prompt in zip(prompts, encoded, strict=True) if len(prompt) <= room]
    ids = [prompt for prompt in encoded if len(prompt) <= room]
    ends = stop_ids(policy) | (set(end_of_turn(tokenizer)) if chat else set())
    made = answers(policy, ids, max_new_tokens=max_tokens, stop_ids=ends) if ids else []
    texts = [str(tokenizer.decode(answer.ids, skip_special_tokens=True)) for answer in made]
    rows = [{"prompt": prompt, "answer": text} for prompt, text in zip(prompts, texts, strict=True)]
    path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")
    if len(rows) < 2:
        return metrics
    measured = {
        "words": [float(len(text.split())) for text in texts],
        "repetition": [repetition(text) for text in texts],
        "same_language": [
            float(bool(text.strip()) and same_language(prompt, text))
            for prompt, text in zip(prompts, texts, strict=True)
        ],
        "cut_off": [float(answer.stopped_by is None) for answer in made],
    }
    metrics["samples_n"] = float(len(rows))
    for name, values in measured.items():
        metrics |= mean_interval(values, seed=seed).metrics(f"samples_{name}")
    return metrics
