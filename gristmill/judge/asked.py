"""Prompts to ask a model, which of them are held out, and answers sampled to them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gristmill.judge.config import AskedConfig, PromptFile
from gristmill.judge.questions import Judge, Question, Reply
from gristmill.judge.templates import Message
from gristmill.review.candidates import read_candidates
from gristmill.review.preferences import held_out_prompts, prompt_digest


@dataclass(frozen=True)
class Asked:
    """Distinct prompts in the order drawn by the seed, and the digests of those whose pairs are held out.

    held_out: None where the pairs that come of it decide.
    """

    prompts: list[list[Message]]
    held_out: set[str] | None


def read_asked(config: AskedConfig, examples: Path) -> Asked:
    """Raises ValueError naming file and line, or when there is no prompt."""
    if isinstance(config.prompts, PromptFile):
        prompts, held_out = _distinct(config.prompts.path, config.seed)[: config.max_prompts], None
    else:
        aside = max(2, round(config.held_out * config.max_prompts))
        held = _distinct(examples / "sft_held_out.jsonl", config.seed)[:aside]
        prompts = _distinct(examples / "sft.jsonl", config.seed)[: max(1, config.max_prompts - len(held))]
        held_out = {prompt_digest({"prompt": prompt}) for prompt in held}
        prompts = [*held, *(prompt for prompt in prompts if prompt_digest({"prompt": prompt}) not in held_out)]
    if not prompts:
        raise ValueError(f"preferences.prompts: no prompt in {config.prompts.kind}; give rows that ask something")
    return Asked(prompts, held_out)


def held_out_of(asked: Asked, pairs: Sequence[dict], share: float) -> set[str]:
    """Digests of the prompts whose pairs never train. Raises ValueError when either part would be too small."""
    held_out = held_out_prompts(pairs, share) if asked.held_out is None else asked.held_out
    aside = sum(prompt_digest(pair) in held_out for pair in pairs)
    if aside < 2 or len(pairs) - aside < 1:
        raise ValueError(
            f"{len(pairs)} pairs came of {len(asked.prompts)} prompts, {aside} of them held out; at least 1 to train "
            "on and 2 held out are needed: raise preferences.max_prompts, or answer_tokens where many were cut off, or "
            "take another judge"
        )
    return held_out


def sample(policy: Judge, prompts: Sequence[Sequence[Message]], config: AskedConfig, *, each: int) -> list[list[Reply]]:
    """`each` answers to each prompt."""
    seeds = np.random.SeedSequence(config.seed).generate_state(len(prompts) * each).tolist()
    questions = [
        Question(tuple(prompt), config.answer_tokens, config.temperature, seeds[number * each + place])
        for number, prompt in enumerate(prompts)
        for place in range(each)
    ]
    replies = policy.ask(questions, label="answers")
    return [replies[first : first + each] for first in range(0, len(replies), each)]


def _distinct(path: Path, seed: int) -> list[list[Message]]:
    found = {}
    for candidate in read_candidates(path):
        prompt = [message.model_dump() for message in candidate.prompt]
        found[hashlib.sha256(f"{seed} {json.dumps(prompt)}".encode()).hexdigest()] = prompt
    return [found[digest] for digest in sorted(found)]
