"""Rewards: functions from answers to numbers, composed by weights. What they measure stands in their configurations."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import regex

from gristmill.align.online import config as kinds
from gristmill.align.online.constraints import followed_share
from gristmill.align.online.rollout import Answer
from gristmill.align.online.tested_code import passes_tests

if TYPE_CHECKING:
    import torch

Score = Callable[[Sequence[Answer]], "np.ndarray"]

PATTERN_TIMEOUT_S = 0.1
# 1,024.5 or .5 (not the end of 1.2.3), and what power of ten follows
_NUMBER = regex.compile(r"[-+]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|(?<![\w.])\.\d+)(?:[eE][-+]?\d{1,3}(?!\w))?")


class Rewards:
    """The weighted sum of some rewards."""

    def __init__(
        self,
        configs: Sequence[kinds.AnyReward],
        *,
        max_new_tokens: int,
        seed: int,
        scorers: "Mapping[str, Scorer] | None" = None,
    ) -> None:
        """scorers: scores of the reward models that are asked for, by kind of reward."""
        self._parts = [
            (
                f"{config.kind}_{number}" if number else config.kind,
                config.weight,
                _score(config, max_new_tokens, seed, scorers or {}),
            )
            for number, config in _numbered(configs)
        ]

    def __call__(self, answers: Sequence[Answer]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The reward of each answer, and each part of it by name, unweighted. Float64 [answers]."""
        parts = {name: np.asarray(score(answers), dtype=np.float64) for name, _, score in self._parts}
        weights = {name: weight for name, weight, _ in self._parts}
        total = np.zeros(len(answers))
        for name, values in parts.items():
            total += weights[name] * values
        if not np.isfinite(total).all():
            wrong = next(name for name, values in parts.items() if not np.isfinite(values).all())
            raise ValueError(f"reward {wrong} gave a number that is not finite; a policy cannot learn from that")
        return total, parts


Scorer = Callable[[Sequence[Sequence[int]]], list[float]]
"""Rewards of rows of token ids."""


def _numbered(configs: Sequence[kinds.AnyReward]) -> list[tuple[int, kinds.AnyReward]]:
    """Each with how many of its kind stand before it."""
    return [
        (sum(other.kind == config.kind for other in configs[:place]), config) for place, config in enumerate(configs)
    ]


def _score(config: kinds.AnyReward, max_new_tokens: int, seed: int, scorers: Mapping[str, Scorer]) -> Score:
    match config:
        case kinds.RewardModelReward() | kinds.JudgeModelReward():
            if config.kind not in scorers:
                raise ValueError(f"a reward is of kind {config.kind} but no such model was given")
            scorer = scorers[config.kind]
            return lambda answers: np.array(scorer([[*answer.prompt.ids, *answer.ids] for answer in answers]))
        case kinds.NumberReward():
            return _each(lambda answer: final_number(answer.text) == final_number(_reference(answer)) is not None)
        case kinds.ExactReward():
            return _each(lambda answer: answer.text.strip() == _reference(answer).strip())
        case kinds.PatternReward():
            return _each(lambda answer: _matches(config.pattern, answer.text))
        case kinds.ConstraintsReward():
            return _each(followed_share)
        case kinds.CodeReward():
            return lambda answers: passes_tests(
                [(answer.text, _reference(answer)) for answer in answers], cpu_s=config.cpu_s
            )
        case kinds.LengthReward():
            return _each(lambda answer: len(answer.ids) / max_new_tokens)
        case kinds.FinishedReward():
            return _each(lambda answer: answer.finished)
        case kinds.RepetitionReward():
            return _each(lambda answer: repetition(answer.text))
        case kinds.ToxicityReward():
            return _each(_toxicity(config))
        case kinds.LanguageReward():
            return _each(_same_language())
        case kinds.RandomReward():
            return _each(lambda answer: _unrelated(answer, seed))


def _each(function: Callable[[Answer], float]) -> Score:
    return lambda answers: np.array([float(function(answer)) for answer in answers])


def final_number(text: str) -> str | None:
    """The last number in a text, written out: without commas, powers of ten, leading zeros and trailing zeros of a
    fraction, so that equal numbers are equal texts. None where there is none."""
    found = _NUMBER.findall(text)
    if not found:
        return None
    number = Decimal(found[-1].replace(",", ""))
    if number == 0:
        return "0"
    written = f"{number:f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


def repetition(text: str) -> float:
    """Share of the word triples of a text that stood in it before; 0 below three words."""
    words = text.split()
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(triples)) / len(triples) if triples else 0.0


def _reference(answer: Answer) -> str:
    if answer.prompt.reference is None:
        raise ValueError(
            f"row {answer.prompt.row_id} has no reference to compare an answer with; set prompts.reference, or take "
            "another reward"
        )
    return answer.prompt.reference


def _matches(pattern: str, text: str) -> bool:
    try:
        return regex.fullmatch(pattern, text.strip(), timeout=PATTERN_TIMEOUT_S) is not None
    except TimeoutError:
        return False  # an answer that makes an expression run away earns nothing


def _toxicity(config: kinds.ToxicityReward) -> Callable[[Answer], float]:
    from gristmill.filters.classifier import TASKS, Classifier, check_model
    from gristmill.filters.classifier_config import MODELS

    path = config.model or MODELS / "toxicity.en.ftz"
    check_model(path, TASKS["toxicity"])
    classifier = Classifier.load(path, TASKS["toxicity"])
    return lambda answer: classifier.score(answer.text)


def _same_language() -> Callable[[Answer], float]:
    from gristmill.text.config import LanguageConfig
    from gristmill.text.language import LanguageIdentifier

    identifier = LanguageIdentifier(LanguageConfig())

    def same(answer: Answer) -> float:
        wanted, found = (identifier.identify(text)[0] for text in (answer.prompt.text, answer.text))
        return wanted == found

    return same


def _unrelated(answer: Answer, seed: int) -> float:
    content = f"{seed}\0{answer.prompt.row_id}\0{answer.ids}"
    return int.from_bytes(hashlib.sha256(content.encode()).digest()[:8]) / 2**64


def reward_model_scorer(folder: Path, policy_tokenizer: Any, device: "torch.device") -> Scorer:
    """Scores by a reward model. Raises ValueError when its tokenizer is another one than the policy's."""
    from gristmill.align.rewards import load_reward_model, rewards

    model, tokenizer = load_reward_model(folder, device)
    if tokenizer.get_vocab() != policy_tokenizer.get_vocab():
        raise ValueError(
            f"{folder.name}: the reward model has another tokenizer than the policy; train it from the same"
        )
    return lambda rows: rewards(model, rows)
