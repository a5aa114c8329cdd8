"""What alignment computes: fine-tuning on answers, a model that scores them, and preference optimization."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from gristmill.align.online.config import GrpoConfig, PpoConfig, ReinforceConfig
from gristmill.fingerprint import content_digest
from gristmill.program import Run
from gristmill.schema import Schema, StageConfig


class ExampleRows(Schema):
    """The rows that the stage `examples` made, with its own held-out rows."""

    kind: Literal["examples"] = "examples"


class JsonlRows(Schema):
    """A JSON-lines file (or `.gz`): chat messages, Alpaca fields or, for pairs, prompt, chosen and rejected."""

    kind: Literal["jsonl"] = "jsonl"
    path: Annotated[Path, AfterValidator(Path.absolute)]
    """The file; a relative path counts from where the command is started."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of rows that never train and measure the result; a row's content decides, so copies stay together."""


Rows = Annotated[ExampleRows | JsonlRows, Field(discriminator="kind")]


class TrainingConfig(StageConfig):
    """What all three trainings have in common: AdamW, linear warm-up and decay, rows of similar length together."""

    data: Rows = ExampleRows()
    """Where rows come from: `examples`, or a file of your own (`jsonl`)."""
    epochs: PositiveFloat = 1.0
    """Passes over the training rows."""
    lr: PositiveFloat = 1e-4
    """Peak learning rate."""
    lr_warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the steps over which the learning rate rises; it falls linearly to 0 over the rest."""
    batch_rows: PositiveInt = 32
    """Rows (or pairs) of one optimizer step."""
    micro_rows: PositiveInt = 32
    """Rows of one forward pass; fewer need less memory. Must divide batch_rows."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled decay of the matrices."""
    grad_clip: PositiveFloat = 1.0
    """Largest norm of the whole gradient; a longer one is scaled down to it."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of matrix products in training; weights and measurements stay float32."""
    max_tokens: PositiveInt | None = None
    """Rows of at most this many tokens are kept, longer ones counted as `too_long`; null: the model's context."""
    held_out_rows: PositiveInt = 400
    """Held-out rows measured before and after, the first of their file."""
    log_every_steps: PositiveInt = 10
    """Steps between rows of metrics.jsonl."""
    seed: int = Field(default=0, ge=0)
    """Decides the order of rows and new weights; bootstrap intervals too."""

    @model_validator(mode="after")
    def _batches_divide_evenly(self) -> Self:
        if self.batch_rows % self.micro_rows:
            raise ValueError(
                f"micro_rows={self.micro_rows} does not divide batch_rows={self.batch_rows}; "
                "a step is a whole number of forward passes"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """The configuration with a file's content in place of its path."""
        decisive = self.model_dump(mode="json", exclude={"log_every_steps", "micro_rows"})
        if isinstance(self.data, JsonlRows):
            decisive["data"] = {**decisive["data"], "path": content_digest(self.data.path)}
        return decisive


class SftConfig(TrainingConfig):
    """Supervised fine-tuning: the loss counts the assistant's tokens alone, the end of its turn among them."""

    epochs: PositiveFloat = 2.0
    """Passes over the training rows."""
    lr: PositiveFloat = 1e-3
    """Peak learning rate."""


class RewardModelConfig(TrainingConfig):
    """A Bradley–Terry reward model on preference pairs (Ouyang et al. 2022, arXiv:2203.02155)."""

    lr: PositiveFloat = 3e-4
    """Peak learning rate."""
    center_rewards: NonNegativeFloat = 0.01
    """Weight of (reward of chosen + reward of rejected)², which keeps rewards around 0 (arXiv:2312.09244)."""


class DpoConfig(TrainingConfig):
    """Direct preference optimization (Rafailov et al. 2023, arXiv:2305.18290) against the policy's own start."""

    algorithm: Literal["dpo"] = "dpo"
    beta: PositiveFloat = 0.1
    """Strength of the pull towards the reference; smaller moves further."""
    length_normalized: bool = False
    """Compare log-probabilities per token instead of per answer (Tülu 3, arXiv:2411.15124); beta is then larger, ~5."""
    chosen_nll_weight: NonNegativeFloat = 0.0
    """Weight of the chosen answers' own loss per token, which keeps their probability up (RPO; arXiv:2404.19733)."""
    answered_prompts: int = Field(default=64, ge=0)
    """Held-out prompts answered before and after for the reward model to score; 0: none."""
    answer_tokens: PositiveInt = 48
    """Longest answer to those, in tokens."""


AlignConfig = DpoConfig | GrpoConfig | ReinforceConfig | PpoConfig
"""What `align` can be, told apart by `algorithm`."""


class SftRun(Run):
    """`run.yaml` of `python -m gristmill.align.sft`."""

    model: Path
    """Folder of the model to start from."""
    examples: Path | None = None
    """Folder of the examples artifact, where `config.data` asks for it."""
    config: SftConfig = SftConfig()
    """What is computed."""


class RewardModelRun(Run):
    """`run.yaml` of `python -m gristmill.align.reward_model`."""

    model: Path
    """Folder of the model to start from."""
    examples: Path | None = None
    """Folder of the examples artifact, where `config.data` asks for it."""
    config: RewardModelConfig = RewardModelConfig()
    """What is computed."""


class DpoRun(Run):
    """`run.yaml` of `python -m gristmill.align.dpo`."""

    model: Path
    """Folder of the model to start from; it is the reference too."""
    examples: Path | None = None
    """Folder of the examples artifact, where `config.data` asks for it."""
    reward_model: Path | None = None
    """Folder of a reward model that scores answers before and after. Training does not use it."""
    config: DpoConfig = DpoConfig()
    """What is computed."""


class OnlineRun(Run):
    """`run.yaml` of `python -m gristmill.align.online.run`."""

    model: Path
    """Folder of the model to start from; KL divergence is measured from it too."""
    examples: Path | None = None
    """Folder of the examples artifact, where `config.prompts` asks for it."""
    reward_model: Path | None = None
    """Folder of the reward model, where a reward asks for it."""
    config: GrpoConfig | ReinforceConfig | PpoConfig = Field(default=GrpoConfig(), discriminator="algorithm")
    """What is computed."""
