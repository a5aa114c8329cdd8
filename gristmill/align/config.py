"""What alignment computes: fine-tuning on answers, a model that scores them, and preference optimization."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from gristmill.align.adapter_config import Adapter
from gristmill.align.online.config import GrpoConfig, PpoConfig, ReinforceConfig
from gristmill.align.rows_config import ArtifactRows, ExampleRows, FileRows, HubRows, MixedRows, Rows
from gristmill.dedup.decontaminate_config import DecontaminateConfig, KeptOut
from gristmill.program import Run
from gristmill.schema import StageConfig


class TrainingConfig(StageConfig):
    """What all trainings have in common: AdamW, linear warm-up and decay, rows of similar length together."""

    data: Rows = ExampleRows()
    """Where rows come from: `examples`, an earlier `artifact`, `files` of your own, a data set of the `hub`."""
    adapter: Adapter | None = None
    """Which weights train: null all of them, else those of an adapter beside them."""
    epochs: PositiveFloat = 1.0
    """Passes over the training rows."""
    lr: PositiveFloat = 1e-4
    """Peak learning rate."""
    lr_warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the steps over which the learning rate rises; it falls linearly to 0 over the rest."""
    batch_rows: PositiveInt = 32
    """Rows (or pairs) of one optimizer step."""
    micro_rows: PositiveInt = 32
    """Rows of one forward pass; fewer need less memory. Must divide batch_rows. Part of the key, but of
    chat in `sft`: other losses are means over each pass, so they depend on it a little."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled decay of the matrices."""
    grad_clip: PositiveFloat = 1.0
    """Largest norm of the whole gradient; a longer one is scaled down to it."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of matrix products in training; weights and measurements stay float32."""
    max_tokens: PositiveInt | None = None
    """Rows of at most this many tokens are kept, longer ones counted as `too_long`; null: the model's context."""
    held_out_rows: int = Field(default=400, ge=2)
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

    @property
    def has_own_rows(self) -> bool:
        """Whether rows come from elsewhere than this run's stage `examples`."""
        return not isinstance(self.data, ExampleRows)

    @property
    def earlier_rows(self) -> str | None:
        """Address of the examples artifact that `data` names, if it names one."""
        return self.data.artifact if isinstance(self.data, ArtifactRows) else None

    def identity(self) -> dict[str, Any]:
        """The configuration with the rows' content in place of where they lie; an artifact is an input of its own."""
        decisive = self.model_dump(mode="json", exclude={"log_every_steps"})
        if isinstance(self.data, FileRows | HubRows):
            places = {"paths", "hub", "revision", "files"}
            decisive["data"] = self.data.model_dump(mode="json", exclude=places) | {"content": self.data.content()}
        elif isinstance(self.data, MixedRows):
            decisive["data"] = {"kind": "mix", "content": self.data.content()}
        elif isinstance(self.data, ArtifactRows):
            decisive["data"] = ExampleRows().model_dump(mode="json")
        return decisive


class SftConfig(TrainingConfig):
    """Supervised fine-tuning: the loss counts the assistant's tokens alone, the end of its turn among them."""

    data: Rows | MixedRows = ExampleRows()  # pyright: ignore[reportIncompatibleVariableOverride]
    """Where rows come from: as elsewhere, or a `mix` of tasks."""
    task: Literal["chat", "classification"] = "chat"
    """`classification`: the model learns which class a text belongs to, from rows of `text` and `label`, and answers
    nothing; `gristmill run classify` ends with it."""
    epochs: PositiveFloat = 2.0
    """Passes over the training rows."""
    lr: PositiveFloat = 1e-3
    """Peak learning rate."""
    packing: bool = False
    """Lay the rows of a forward pass one behind the other, each blind to the others, where lengths differ much and
    padding would cost. The loss is the same."""

    @model_validator(mode="after")
    def _classes_come_from_somewhere(self) -> Self:
        if self.task == "classification" and not isinstance(self.data, FileRows | HubRows):
            raise ValueError(
                f"task=classification with data.kind={self.data.kind}: that has no classes; name rows of `text` and "
                "`label` with data: {kind: files, paths: […]} or {kind: hub, …}"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """Without micro_rows where a step's loss is the mean over all of its tokens, however they are passed."""
        decisive = super().identity()
        if self.task == "chat":
            del decisive["micro_rows"]
        return decisive


class RewardModelConfig(TrainingConfig):
    """A Bradley–Terry reward model on preference pairs (Ouyang et al. 2022, arXiv:2203.02155)."""

    lr: PositiveFloat = 3e-4
    """Peak learning rate."""
    center_rewards: NonNegativeFloat = 0.01
    """Weight of (reward of chosen + reward of rejected)², which keeps rewards around 0 (arXiv:2312.09244)."""
    half: Literal[0, 1] | None = None
    """Learn from this half of the training pairs; a hash of the prompt tells them apart. Null: from all. The pipeline
    sets it where a second reward model judges the first (`kind: judge_model` among the monitors of `align`)."""


class PreferenceConfig(TrainingConfig):
    """What learning from preferences has in common, beside the rows and the optimizer."""

    beta: PositiveFloat = 0.1
    """Strength of the pull towards the reference; smaller moves further."""
    answered_prompts: int = Field(default=64, ge=0)
    """Held-out prompts answered before and after for the reward model to score, at least 2; 0: none. Those that leave
    no room for an answer in the context are passed over."""
    answer_tokens: PositiveInt = 48
    """Longest answer to those, in tokens."""

    @model_validator(mode="after")
    def _an_interval_needs_two_prompts(self) -> Self:
        if self.answered_prompts == 1:
            raise ValueError("answered_prompts=1: the difference of one prompt has no interval; use at least 2, or 0")
        return self

    @property
    def asks_reward_model(self) -> bool:
        """Whether answers are scored by the stage `reward_model`."""
        return self.answered_prompts > 0


class DpoConfig(PreferenceConfig):
    """Direct preference optimization (Rafailov et al. 2023, arXiv:2305.18290) against the policy's own start."""

    algorithm: Literal["dpo"] = "dpo"
    loss: Literal["sigmoid", "ipo", "robust"] = "sigmoid"
    """`sigmoid`: the paper's. `ipo`: a margin of 1/(2 beta) per token and no more (Azar et al. 2023, arXiv:2310.12036).
    `robust`: unbiased where a share `label_noise` of the pairs is the wrong way round (arXiv:2403.00409)."""
    label_noise: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of pairs that are the wrong way round, for `loss: robust`."""
    length_normalized: bool = False
    """Compare log-probabilities per token instead of per answer (Tülu 3, arXiv:2411.15124); beta is then larger, ~5.
    Of `loss: sigmoid`; `ipo` always does."""
    chosen_nll_weight: NonNegativeFloat = 0.0
    """Weight of the chosen answers' own loss per token, which keeps their probability up (RPO; arXiv:2404.19733)."""

    @model_validator(mode="after")
    def _loss_has_these_settings(self) -> Self:
        if self.length_normalized and self.loss != "sigmoid":
            raise ValueError(f"length_normalized is a setting of loss=sigmoid, and loss={self.loss}; leave it out")
        if (self.label_noise > 0) != (self.loss == "robust"):
            raise ValueError(
                f"label_noise={self.label_noise} with loss={self.loss}: loss: robust needs the share of wrong pairs, "
                "above 0, and no other loss knows it"
            )
        return self


class OrpoConfig(PreferenceConfig):
    """Odds-ratio preference optimization (Hong et al. 2024, arXiv:2403.07691): fine-tuning on the chosen answers and a
    preference in one loss, without a reference."""

    algorithm: Literal["orpo"] = "orpo"
    beta: PositiveFloat = 0.1
    """Weight of the odds ratio beside the chosen answers' own loss; the paper's λ."""


class KtoConfig(PreferenceConfig):
    """Kahneman–Tversky optimization (Ethayarajh et al. 2024, arXiv:2402.01306): single answers that were found
    desirable or not. Preference pairs are two such answers each."""

    algorithm: Literal["kto"] = "kto"
    desirable_weight: PositiveFloat = 1.0
    """Weight of desirable answers' loss."""
    undesirable_weight: PositiveFloat = 1.0
    """Weight of the others'; the paper keeps weight × count of the two between 1 : 1 and 4 : 3."""

    @model_validator(mode="after")
    def _others_to_compare_with(self) -> Self:
        if self.micro_rows < 2:
            raise ValueError(
                f"micro_rows={self.micro_rows}: KTO estimates how far the policy has moved from the other rows of a "
                "forward pass; use at least 2"
            )
        return self


AlignConfig = DpoConfig | OrpoConfig | KtoConfig | GrpoConfig | ReinforceConfig | PpoConfig
"""What `align` can be, told apart by `algorithm`."""


class TrainingRun(Run):
    """What `run.yaml` says of every training on rows."""

    model: Path
    """Folder of the model to start from; `align` measures the distance from it, too."""
    examples: Path | None = None
    """Folder of the examples artifact, where the configuration asks for it."""
    decontaminate: DecontaminateConfig | None = None
    """Benchmark items that no row to train on may hold; null where rows come from the stage `examples` alone."""
    asked: Path | None = None
    """Folder of the examples artifact whose held-out items are benchmark items, too."""

    @property
    def kept_out(self) -> KeptOut | None:
        """Benchmark items with the place of their files."""
        return KeptOut(self.decontaminate, self.asked) if self.decontaminate else None


class SftRun(TrainingRun):
    """`run.yaml` of `python -m gristmill.align.sft`."""

    config: SftConfig = SftConfig()
    """What is computed."""


class RewardModelRun(TrainingRun):
    """`run.yaml` of `python -m gristmill.align.reward_model`."""

    config: RewardModelConfig = RewardModelConfig()
    """What is computed."""


class DpoRun(TrainingRun):
    """`run.yaml` of `python -m gristmill.align.dpo`."""

    reward_model: Path | None = None
    """Folder of a reward model that scores answers before and after. Training does not use it."""
    config: DpoConfig | OrpoConfig = Field(default=DpoConfig(), discriminator="algorithm")
    """What is computed."""


class KtoRun(TrainingRun):
    """`run.yaml` of `python -m gristmill.align.kto`."""

    reward_model: Path | None = None
    """Folder of a reward model that scores answers before and after. Training does not use it."""
    config: KtoConfig = KtoConfig()
    """What is computed."""


class OnlineRun(TrainingRun):
    """`run.yaml` of `python -m gristmill.align.online.run`."""

    reward_model: Path | None = None
    """Folder of the reward model, where a reward asks for it."""
    judge_model: Path | None = None
    """Folder of the reward model that learned from other pairs, where a monitor asks for it."""
    config: GrpoConfig | ReinforceConfig | PpoConfig = Field(default=GrpoConfig(), discriminator="algorithm")
    """What is computed."""
