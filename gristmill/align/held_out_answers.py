"""Greedy answers to held-out prompts, scored by a reward model before and after a training on preferences."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gristmill.align.config import PreferenceConfig
from gristmill.align.rewards import load_reward_model, rewards
from gristmill.evaluate.chat_format import end_of_turn
from gristmill.evaluate.generation import greedy_answers
from gristmill.evaluate.statistics import paired_difference


def scored_answers(
    folder: Path | None,
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    config: PreferenceConfig,
) -> "ScoredAnswers | None":
    """None where there is no reward model, or no prompt is to be answered. Prompts: token ids."""
    if folder is None or config.answered_prompts == 0:
        return None
    return ScoredAnswers(folder, policy, tokenizer, prompts, config)


class ScoredAnswers:
    """A reward model, and the distinct prompts whose answers it scores; `too_long` more leave no room for one."""

    def __init__(
        self,
        folder: Path,
        policy: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[Sequence[int]],
        config: PreferenceConfig,
    ) -> None:
        """Raises ValueError for another tokenizer than the policy's, and for too few prompts to compare rewards."""
        self.reward_model, own_tokenizer = load_reward_model(folder, policy.device)
        if own_tokenizer.get_vocab() != tokenizer.get_vocab():
            raise ValueError(
                f"{folder.name}: the reward model has another tokenizer than the policy; train it from the same"
            )
        self.tokenizer = tokenizer
        self.answer_tokens = config.answer_tokens
        contexts = [model.config.get_text_config().max_position_embeddings for model in (policy, self.reward_model)]
        room = min(contexts) - config.answer_tokens - len(end_of_turn(tokenizer))
        distinct = list({tuple(prompt): None for prompt in prompts})
        fitting = [prompt for prompt in distinct if len(prompt) <= room]
        if len(fitting) < 2:
            raise ValueError(
                f"{len(fitting)} of {len(distinct)} held-out prompts have at most {room} tokens (the context less "
                f"answer_tokens={config.answer_tokens} and the end of the turn); at least 2 are needed to compare "
                "rewards: lower answer_tokens, give shorter prompts, or set answered_prompts: 0"
            )
        self.prompts, self.too_long = fitting[: config.answered_prompts], len(distinct) - len(fitting)

    def scores(self, policy: PreTrainedModel) -> list[float]:
        """The reward of the policy's greedy answer to each prompt."""
        end = end_of_turn(self.tokenizer)
        answers = greedy_answers(policy, self.prompts, max_new_tokens=self.answer_tokens, stop_ids=end)
        rows = [[*prompt, *answer, *end] for prompt, answer in zip(self.prompts, answers, strict=True)]
        return rewards(self.reward_model, rows)

    @staticmethod
    def metrics(before: list[float], after: list[float], *, seed: int) -> dict[str, float]:
        """Mean rewards, and their paired difference with its interval."""
        return {
            "reward_before": float(np.mean(before)),
            "reward": float(np.mean(after)),
            **paired_difference(after, before, seed=seed).metrics("reward_change"),
        }
