"""When to stop: the reward rises, and not because the answers get better (Gao et al. 2023, arXiv:2210.10760)."""

from collections.abc import Mapping

import numpy as np

from gristmill.align.online.config import MonitorConfig
from gristmill.evaluate.statistics import paired_difference


class RewardHacked(RuntimeError):
    """A monitor stopped the run; the message has the numbers."""


class Monitors:
    """The limits of a run, and what held-out prompts got before it."""

    def __init__(self, config: MonitorConfig, *, seed: int, reward: np.ndarray, judged: np.ndarray | None) -> None:
        """reward, judged: of the answers to held-out prompts before the first step, [prompts]; None: no judge."""
        self._config, self._seed = config, seed
        self._reward, self._judged = reward, judged

    def check_step(self, step: int, measured: Mapping[str, float]) -> None:
        """Raises RewardHacked when a round's sampled answers leave the limits. measured: kl, entropy, repetition."""
        config = self._config
        kl = measured.get("kl")
        if config.max_kl is not None and kl is not None and kl > config.max_kl:
            raise RewardHacked(
                f"step {step}: the policy is {kl:.2f} nats an answer away from its start and monitors.max_kl is "
                f"{config.max_kl:g}; lower lr, raise kl_coef, or raise the limit"
            )
        entropy = measured.get("entropy")
        if entropy is not None and entropy < config.min_entropy:
            raise RewardHacked(
                f"step {step}: {entropy:.4f} nats of entropy a token, below monitors.min_entropy="
                f"{config.min_entropy:g}: all answers are the same; lower lr, or raise temperature or kl_coef"
            )
        if measured["repetition"] > config.max_repetition:
            raise RewardHacked(
                f"step {step}: {measured['repetition']:.0%} of the answers' word triples are repeated and "
                f"monitors.max_repetition is {config.max_repetition:.0%}; add a reward of kind repetition with a "
                "negative weight"
            )

    def check_held_out(self, step: int, reward: np.ndarray, judged: np.ndarray | None) -> None:
        """Raises RewardHacked when the reward has risen while the judge's has fallen, each by more than chance."""
        if judged is None or self._judged is None:
            return
        proxy = paired_difference(reward, self._reward, seed=self._seed)
        judge = paired_difference(judged, self._judged, seed=self._seed)
        if proxy.low > 0 and judge.high < 0:
            raise RewardHacked(
                f"step {step}: the reward is being hacked: on {len(reward)} held-out prompts it rose by "
                f"{proxy.mean:+.3f} [{proxy.low:+.3f}, {proxy.high:+.3f}] while the judge's fell by {judge.mean:+.3f} "
                f"[{judge.low:+.3f}, {judge.high:+.3f}]; change `rewards`, or take fewer steps"
            )
