"""Which answers people see: of several samples the one that reward models like best, and prompts they disagree on.

Disagreement of an ensemble of reward models says where a person's judgement tells most (Coste et al. 2023,
arXiv:2310.02743, use it against overoptimization). Shapes: J judges, P prompts, S samples of each of two sides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gristmill.review.queue import Candidate, ChatMessage, ShownAnswer


@dataclass(frozen=True)
class Sampled:
    """A prompt with S answers of each of two sides; both may be the same model."""

    prompt: list[ChatMessage]
    models: tuple[str, str]
    texts: tuple[list[str], list[str]]
    reference: str | None = None


def select(sampled: Sequence[Sampled], judges: Sequence[Path], *, disagreed: int | None = None) -> list[Candidate]:
    """One answer a side: the best by the judges' mean, without judges the first. In the given order.

    disagreed: keep this many prompts, those on whose two answers the judges disagree most. Raises ValueError when there
    are several samples and no judge to choose among them, or `disagreed` and fewer than two judges.
    """
    if disagreed is not None and len(judges) < 2:
        raise ValueError(f"{len(judges)} reward models cannot disagree; name two or more")
    if not judges and any(len(side) > 1 for each in sampled for side in each.texts):
        raise ValueError("several samples of a prompt need a reward model to choose the best by")
    if not sampled:
        return []
    if not judges:
        return [_candidate(each, (0, 0)) for each in sampled]
    best_P2, disagreement_P = choose(np.array([_rewards(judge, sampled) for judge in judges]))
    kept = sorted(np.argsort(-disagreement_P, kind="stable")[:disagreed].tolist())
    return [_candidate(sampled[place], tuple(best_P2[place].tolist())) for place in kept]


def choose(rewards_JP2S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best sample of each side [P, 2], and how far the judges' margins between these lie apart [P].

    Rewards are standardized by judge first, since reward models have scales of their own.
    """
    spread_J = rewards_JP2S.std(axis=(1, 2, 3), keepdims=True)
    centered = rewards_JP2S - rewards_JP2S.mean(axis=(1, 2, 3), keepdims=True)
    standard_JP2S = centered / np.where(spread_J > 0, spread_J, 1)
    best_P2 = standard_JP2S.mean(axis=0).argmax(axis=-1)
    shown_JP2 = np.take_along_axis(standard_JP2S, best_P2[None, :, :, None], axis=-1)[..., 0]
    return best_P2, (shown_JP2[..., 0] - shown_JP2[..., 1]).std(axis=0)


def _rewards(judge: Path, sampled: Sequence[Sampled]) -> np.ndarray:
    """[P, 2, S]. A row longer than the judge's context loses its beginning."""
    import torch

    from gristmill.align.rewards import load_reward_model, rewards
    from gristmill.evaluate.chat_format import encode_chats

    model, tokenizer = load_reward_model(judge, torch.device("cpu"))
    chats = [
        [*(turn.model_dump() for turn in each.prompt), {"role": "assistant", "content": text}]
        for each in sampled
        for side in each.texts
        for text in side
    ]
    context = model.config.get_text_config().max_position_embeddings
    rows = [chat.ids[-context:] for chat in encode_chats(tokenizer, chats)]
    return np.array(rewards(model, rows)).reshape(len(sampled), 2, -1)


def _candidate(sampled: Sampled, best: tuple[int, ...]) -> Candidate:
    answers = [
        ShownAnswer(model=model, text=side[place])
        for model, side, place in zip(sampled.models, sampled.texts, best, strict=True)
    ]
    return Candidate(sampled.prompt, answers, sampled.reference)
