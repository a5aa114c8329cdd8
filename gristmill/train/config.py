"""What pretraining computes, and the file that tells the program where its inputs lie."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from gristmill.model.config import ModelConfig
from gristmill.schema import Resources, Schema, StageConfig
from gristmill.train.loop_config import AnnealConfig, EarlyStopConfig, GuardsConfig

T = TypeVar("T")


def settled(value: T | None) -> T:
    """A setting that may be null, in a configuration that `gristmill.train.dial.resolve` has completed."""
    assert value is not None, "this configuration has nulls; gristmill.train.dial.resolve gives them numbers"
    return value


class OptimConfig(Schema):
    """Muon for the matrices inside the layers (Jordan 2024; fair comparison: arXiv:2509.02046), AdamW for the rest."""

    kind: Literal["muon", "adamw"] = "muon"
    """What trains the matrices inside the layers; AdamW trains the rest in any case. `adamw` for a model that was
    trained with it before (docs/adapting.md)."""
    lr_matrix: PositiveFloat | None = None
    """Muon's learning rate; a matrix taller than wide gets sqrt(rows / columns) times as much. Null: derived."""
    lr_matrix_adamw: PositiveFloat = 1e-3
    """AdamW's learning rate for the matrices, with `kind: adamw`."""
    newton_schulz: Literal["bf16", "fp32"] = "bf16"
    """Precision in which Muon makes a matrix orthogonal. `fp32` is slower and learns no better; a run in it is the same
    on one process and on several to the last digits, which shows that they compute the same."""
    lr_embedding: PositiveFloat | None = None
    """AdamW's learning rate for the embeddings. Null: derived."""
    lr_head: PositiveFloat | None = None
    """AdamW's learning rate for the output matrix, where there is one of its own. Null: derived."""
    lr_norm: PositiveFloat | None = None
    """AdamW's learning rate for the gains of the norms. Null: derived."""
    weight_decay: NonNegativeFloat | None = None
    """Decoupled decay of the matrices; embeddings and norms have none. Null: derived."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Muon's (Nesterov) momentum."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """AdamW's decay of the gradient's running mean."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """AdamW's decay of the squared gradient's running mean."""
    grad_clip: PositiveFloat = 1.0
    """Largest norm of the whole gradient; a longer one is scaled down to it."""


class ScheduleConfig(Schema):
    """Learning rate over the run, a pure function of the step."""

    kind: Literal["wsd", "cosine"] = "wsd"
    """`wsd`: linear warm-up, stable, long linear decay (arXiv:2404.06395). `cosine`: after the warm-up half a wave."""
    warmup_steps: NonNegativeInt | None = None
    """Steps until the full learning rate is reached. Null: derived."""
    decay_ratio: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of all steps, at the end, over which the learning rate of `wsd` falls. Null: derived."""
    final_lr_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Learning rate at the end, as a share of the full one."""


class PretrainConfig(StageConfig):
    """Train a language model to predict the next token of packed rows, or (bert) the masked ones. What is null follows
    from the model's size (docs/dial.md); `gristmill plan` prints it."""

    optim: OptimConfig = OptimConfig()
    """Learning rates and their company."""
    schedule: ScheduleConfig = ScheduleConfig()
    """The learning rate over the run."""
    tokens: PositiveInt | None = None
    """Budget: tokens to train on, rounded up to whole steps. More than the shards hold means several epochs. Null:
    `tokens_per_parameter` for each parameter outside of embeddings and output matrix."""
    tokens_per_parameter: PositiveFloat = 20.0
    """What `tokens` is derived from; about 20 is best for the computing power (arXiv:2203.15556). Of the parameters
    those count that a token meets in the layers and the last norm, without embeddings and output matrix;
    `scaling.tokens_per_parameter` counts the output matrix too."""
    batch_rows: PositiveInt | None = None
    """Rows of one optimizer step, over all processes. Null: derived."""
    micro_rows: PositiveInt = 8
    """Rows of one forward pass in one process; fewer need less memory. Gradients are summed by exact token counts."""
    z_loss: NonNegativeFloat = 0.0
    """Weight of ln² Z beside the cross-entropy of each token, Z being what the softmax divides by; 1e-4 is usual
    (arXiv:2204.02311). It keeps logits from drifting; reported losses leave it out."""
    document_masking: bool = False
    """Keep the documents of a packed row apart: attention ends where one does, and positions begin anew."""
    anneal: AnnealConfig | None = None
    """Other token shards for the last phase of the run."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of matrix products; weights and optimizer state stay float32. `auto`: bf16 where the device has
    instructions for it, else fp32; the report says which it was."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile; `auto`: on a GPU only, since on a CPU it takes longer than it saves."""
    embeddings_first_steps: NonNegativeInt = 0
    """Steps at the beginning that train the embeddings and the output matrix alone, for a vocabulary that grew."""
    kl_to_start: NonNegativeFloat = 0.0
    """Weight of the divergence from the model that training starts with, in nats per token beside the loss: it holds on
    to what that model knew. Not where a document has a token that the model did not know (docs/adapting.md)."""
    seed: int = 0
    """Decides the new weights and the order of rows."""
    eval_every_steps: PositiveInt = 250
    """Steps between measurements of validation bits per byte; the end is always measured."""
    log_every_steps: PositiveInt = 10
    """Steps between rows of metrics.jsonl."""
    max_skipped_steps: NonNegativeInt = 3
    """Steps within `guards.window_steps` that may be left out because their loss or gradient is not finite or spikes;
    at the next one the weights go back to an anchor, or the run stops and names its rows and documents."""
    guards: GuardsConfig = GuardsConfig()
    """What counts as a spike, and what the weights go back to."""
    early_stop: EarlyStopConfig | None = None
    """Whether the run may end before its budget; then its result is the best checkpoint."""
    sample_every_steps: PositiveInt | None = 250
    """Steps between samples of what the model writes (`samples.jsonl`, and the log); null: never."""
    sample_prompts: tuple[str, ...] = ("The", "This function", "In 1969")
    """How the samples begin; each goes on with the likeliest token, again and again."""
    sample_tokens: PositiveInt = 32
    """Tokens that each sample goes on for."""
    checkpoint_every_s: NonNegativeFloat = 60.0
    """Seconds between checkpoints; 0: after every step."""
    keep_checkpoints: PositiveInt = 2
    """Newest checkpoints kept while the run goes on; more than one, to fall back to when a disk damages one."""
    keep_best: bool = True
    """Keep the checkpoint of the best validation as well."""

    def identity(self) -> dict[str, Any]:
        """The configuration without what says how often to save and how much to keep."""
        return self.model_dump(mode="json", exclude={"checkpoint_every_s", "keep_checkpoints", "keep_best"})

    def steps(self, seq_len: int) -> int:
        """Optimizer steps of the budget, for rows of `seq_len` predicted tokens."""
        return math.ceil(settled(self.tokens) / (settled(self.batch_rows) * seq_len))

    def anneal_share(self) -> float:
        """Share of all steps that read the shards to anneal on; 0 without any."""
        if self.anneal is None:
            return 0.0
        return settled(self.schedule.decay_ratio) if self.anneal.share is None else self.anneal.share

    @model_validator(mode="after")
    def _best_is_kept(self) -> Self:
        if self.early_stop and not self.keep_best:
            raise ValueError("early_stop makes the best checkpoint the result, so keep_best has to be true")
        return self

    @model_validator(mode="after")
    def _anneal_has_steps(self) -> Self:
        if self.anneal and self.anneal.share is None and self.schedule.decay_ratio == 0:
            raise ValueError(
                "anneal.share is null, so it follows schedule.decay_ratio, which is 0; give anneal a share of the steps"
            )
        return self


class PretrainRun(Schema):
    """`run.yaml`: everything that `python -m gristmill.train.pretrain` is told."""

    tokens: Path
    """Folder of token shards."""
    tokenizer: Path
    """Folder of the tokenizer that made them; it becomes part of the model's folder."""
    start: Path | None = None
    """Folder of the model to go on from, where `model.start` is an artifact or an open model."""
    anneal: Path | None = None
    """Folder of the token shards of the last phase, where `config.anneal` names some."""
    model: ModelConfig = ModelConfig()
    """What is trained, and from which weights."""
    config: PretrainConfig = PretrainConfig()
    """What is computed."""
    resources: Resources = Resources()
    """How: threads of each process, device, and how the model lies across processes."""
    leave_checkpoints: bool = False
    """Keep the checkpoints, the last step's among them, in the finished folder: to compare optimizer states."""
