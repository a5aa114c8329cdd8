"""What online alignment computes: prompts, rewards, and the three algorithms that learn from them."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import regex
from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from gristmill.align.online.prompts_config import AskingConfig, JsonlPrompts
from gristmill.fingerprint import content_digest
from gristmill.schema import Schema, StageConfig


class Reward(Schema):
    """A number for an answer; an answer's reward is the sum over all rewards of weight × number."""

    weight: float = 1.0
    """Negative: a penalty."""


class RewardModelReward(Reward):
    """The score of the stage `reward_model`."""

    kind: Literal["reward_model"] = "reward_model"


class JudgeModelReward(Reward):
    """The score of a second reward model, which learned from the other half of the pairs: for `monitors.judge`."""

    kind: Literal["judge_model"] = "judge_model"


class NumberReward(Reward):
    """1 where the last number in the answer is the last one of the reference (GSM8K's rule), else 0."""

    kind: Literal["number"] = "number"


class ExactReward(Reward):
    """1 where the answer is the reference, blanks around both aside, else 0."""

    kind: Literal["exact"] = "exact"


class PatternReward(Reward):
    """1 where a regular expression matches the whole answer, else 0."""

    kind: Literal["pattern"] = "pattern"
    pattern: str
    """In the syntax of the module `regex`; `.` is no line break."""

    @model_validator(mode="after")
    def _is_an_expression(self) -> Self:
        try:
            regex.compile(self.pattern)
        except regex.error as error:
            raise ValueError(f"pattern={self.pattern!r} is no regular expression: {error}") from error
        return self


class ConstraintsReward(Reward):
    """Share of the row's instructions that the answer follows, as IFEval writes them (arXiv:2311.07911)."""

    kind: Literal["constraints"] = "constraints"


class CodeReward(Reward):
    """1 where the answer's Python code passes the tests of the row's reference, else 0; run in a sandbox."""

    kind: Literal["code"] = "code"
    cpu_s: PositiveFloat = 2.0
    """CPU-seconds that the code and its tests may take."""


class LengthReward(Reward):
    """The answer's tokens as a share of `max_new_tokens`. As a bonus it is the classic reward to hack."""

    kind: Literal["length"] = "length"


class FinishedReward(Reward):
    """1 where the answer ended by itself, 0 where it was cut off."""

    kind: Literal["finished"] = "finished"


class RepetitionReward(Reward):
    """Share of the answer's word triples that stood in it before; give it a negative weight."""

    kind: Literal["repetition"] = "repetition"


class ToxicityReward(Reward):
    """The toxicity classifier's score, 0 to 1; give it a negative weight."""

    kind: Literal["toxicity"] = "toxicity"
    model: Annotated[Path, AfterValidator(Path.absolute)] | None = None
    """A fastText model of `gristmill toxicity train`; null: the English one that comes with gristmill."""


class LanguageReward(Reward):
    """1 where the answer is in the prompt's language, else 0."""

    kind: Literal["language"] = "language"


class RandomReward(Reward):
    """A number from 0 to 1 that has nothing to do with the answer: the control arm of an experiment."""

    kind: Literal["random"] = "random"


AnyReward = Annotated[
    RewardModelReward
    | JudgeModelReward
    | NumberReward
    | ExactReward
    | PatternReward
    | ConstraintsReward
    | CodeReward
    | LengthReward
    | FinishedReward
    | RepetitionReward
    | ToxicityReward
    | LanguageReward
    | RandomReward,
    Field(discriminator="kind"),
]


class MonitorConfig(StageConfig):
    """When a run is stopped before its end, because the reward rises for the wrong reason."""

    judge: list[AnyReward] = []
    """Rewards that are not trained on. When the reward on held-out prompts has risen since the start while these have
    fallen, both by more than chance, the run stops: the reward is being hacked. Empty: not looked at."""
    max_kl: PositiveFloat | None = 20.0
    """Nats per answer that the policy may be away from where it started; null: any."""
    min_entropy: NonNegativeFloat = 0.0
    """Nats per token below which the policy answers nearly always the same."""
    max_repetition: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of repeated word triples in sampled answers."""


class OnlineConfig(AskingConfig):
    """What GRPO, RLOO and PPO have in common: sample answers, reward them, make the better ones likelier."""

    rewards: list[AnyReward] = [RewardModelReward(), FinishedReward(weight=0.5)]
    """What is rewarded."""
    monitors: MonitorConfig = MonitorConfig()
    """When to stop early."""
    steps: PositiveInt = 50
    """Rounds of sampling and learning."""
    prompts_per_step: PositiveInt = 8
    """Prompts of a round."""
    group_size: PositiveInt = 8
    """Answers sampled of each prompt."""
    temperature: PositiveFloat = 1.0
    """Of the sampling, and of the distribution that is learned."""
    updates_per_step: PositiveInt = 1
    """Optimizer steps made of one round's answers, each on an equal part of its prompts; with more than one the ratio
    to the policy that sampled matters, and is clipped."""
    passes: PositiveInt = 1
    """Times that a round's answers are gone through."""
    lr: PositiveFloat = 1e-5
    """Learning rate of AdamW; it rises linearly over `lr_warmup_ratio` of the steps and then stays."""
    lr_warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the steps over which the learning rate rises."""
    grad_clip: PositiveFloat = 1.0
    """Largest norm of the whole gradient; a longer one is scaled down to it."""
    clip_eps: PositiveFloat = 0.2
    """How far from 1 the ratio of new to old probability counts."""
    clip_eps_high: PositiveFloat | None = None
    """The same above 1 (DAPO's clip-higher, .28); null: as `clip_eps`."""
    kl_coef: NonNegativeFloat = 0.0
    """Weight of the KL divergence from the start; 0: none, and then it is only measured now and then."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of matrix products in learning; sampling and weights are float32."""
    tokens_per_pass: PositiveInt | None = None
    """Tokens of one forward pass in learning; fewer need less memory. Null: 2,048 on a CPU; on a GPU
    16,384, or as many as have a gigabyte of logits."""
    eval_every_steps: PositiveInt = 10
    """Rounds between measurements on held-out prompts, and of the KL divergence where `kl_coef` is 0."""

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if self.prompts_per_step % self.updates_per_step:
            raise ValueError(
                f"updates_per_step={self.updates_per_step} does not divide prompts_per_step={self.prompts_per_step}; "
                "an update takes whole groups"
            )
        if any(isinstance(reward, JudgeModelReward) for reward in self.rewards):
            raise ValueError(
                "rewards names judge_model, which is there to judge what `rewards` makes of the policy; put it among "
                "monitors.judge"
            )
        if not any(reward.weight for reward in self.rewards):
            raise ValueError("rewards is empty or has no weight other than 0, so there is nothing to learn; give one")
        return self

    @property
    def has_own_rows(self) -> bool:
        """Whether prompts come from a file."""
        return isinstance(self.prompts, JsonlPrompts)

    @property
    def earlier_rows(self) -> None:
        """Prompts come from this run's examples, or a file."""
        return None

    @property
    def asks_reward_model(self) -> bool:
        """Whether anything is scored by the stage `reward_model`."""
        return any(isinstance(reward, RewardModelReward) for reward in (*self.rewards, *self.monitors.judge))

    @property
    def asks_judge_model(self) -> bool:
        """Whether a second reward model judges."""
        return any(isinstance(reward, JudgeModelReward) for reward in self.monitors.judge)

    def identity(self) -> dict[str, Any]:
        """The configuration with a file's content in place of its path."""
        decisive = super().identity()
        del decisive["tokens_per_pass"]
        for reward in (*decisive["rewards"], *decisive["monitors"]["judge"]):
            if reward.get("model"):
                reward["model"] = content_digest(Path(reward["model"]))
        return decisive


class GrpoConfig(OnlineConfig):
    """Group-relative policy optimization (Shao et al. 2024, arXiv:2402.03300)."""

    algorithm: Literal["grpo"] = "grpo"
    loss: Literal["grpo", "dr_grpo", "dapo"] = "grpo"
    """`grpo`: advantages over the group's standard deviation, mean over each answer's tokens. `dr_grpo`: neither
    (arXiv:2503.20783). `dapo`: the mean over all tokens (arXiv:2503.14476); set `clip_eps_high` too."""

    @model_validator(mode="after")
    def _group_has_a_baseline(self) -> Self:
        return _with_a_group(self)


class ReinforceConfig(OnlineConfig):
    """REINFORCE with the group's other answers as baseline: RLOO (Ahmadian et al. 2024, arXiv:2402.14740)."""

    algorithm: Literal["reinforce"] = "reinforce"

    @model_validator(mode="after")
    def _group_has_a_baseline(self) -> Self:
        return _with_a_group(self)


class PpoConfig(OnlineConfig):
    """Proximal policy optimization with a critic (Schulman et al. 2017, arXiv:1707.06347; Ouyang et al. 2022).

    The critic is a head on the policy's last hidden states, which it does not change. The KL divergence from the start
    is part of each token's reward.
    """

    algorithm: Literal["ppo"] = "ppo"
    kl_coef: NonNegativeFloat = 0.02
    """Weight of the KL divergence from the start in each token's reward, at first."""
    kl_target: PositiveFloat | None = None
    """Nats per answer to keep to by moving `kl_coef` (Ziegler et al. 2019, arXiv:1909.08593); null: it stays."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Discount of later rewards, per token."""
    lam: Annotated[float, Field(ge=0, le=1)] = 0.95
    """λ of generalized advantage estimation."""
    value_lr: PositiveFloat = 1e-3
    """Learning rate of the critic."""
    value_clip: PositiveFloat = 0.2
    """How far a guess may move in one round and still be given credit."""

    @model_validator(mode="after")
    def _target_has_a_weight_to_move(self) -> Self:
        if self.kl_target is not None and not self.kl_coef:
            raise ValueError(
                f"kl_target={self.kl_target} moves kl_coef by a factor, and kl_coef is 0; start it above 0, such as .02"
            )
        return self


C = TypeVar("C", bound=OnlineConfig)


def _with_a_group(config: C) -> C:
    if config.group_size < 2:
        raise ValueError(
            f"group_size={config.group_size}: one answer has no group to be compared with; use at least 2, or ppo"
        )
    return config
