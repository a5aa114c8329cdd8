"""What pretraining computes, and the file that tells the program where its inputs lie."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from gristmill.model.config import ModelConfig
from gristmill.schema import Resources, Schema, StageConfig


class OptimConfig(Schema):
    """Muon for the matrices inside the layers (Jordan 2024; fair comparison: arXiv:2509.02046), AdamW for the rest."""

    kind: Literal["muon", "adamw"] = "muon"
    """What trains the matrices inside the layers; AdamW trains the rest in any case. `adamw` for a model that was
    trained with it before (docs/adapting.md)."""
    lr_matrix: PositiveFloat = 0.02
    """Muon's learning rate; a matrix taller than wide gets sqrt(rows / columns) times as much."""
    lr_matrix_adamw: PositiveFloat = 1e-3
    """AdamW's learning rate for the matrices, with `kind: adamw`."""
    newton_schulz: Literal["bf16", "fp32"] = "bf16"
    """Precision in which Muon makes a matrix orthogonal. `fp32` is slower and learns no better; a run in it is the same
    on one process and on several to the last digits, which shows that they compute the same."""
    lr_embedding: PositiveFloat = 0.1
    """AdamW's learning rate for the embeddings; 0.03 where they are the output matrix too."""
    lr_head: PositiveFloat = 3e-3
    """AdamW's learning rate for the output matrix, where there is one of its own."""
    lr_norm: PositiveFloat = 3e-3
    """AdamW's learning rate for the gains of the norms."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled decay of the matrices; embeddings and norms have none."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Muon's (Nesterov) momentum."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """AdamW's decay of the gradient's running mean."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """AdamW's decay of the squared gradient's running mean."""
    grad_clip: PositiveFloat = 1.0
    """Largest norm of the whole gradient; a longer one is scaled down to it."""


class ScheduleConfig(Schema):
    """Learning rate over the run: linear warm-up, stable, long linear decay (WSD; arXiv:2404.06395)."""

    warmup_steps: NonNegativeInt = 20
    """Steps until the full learning rate is reached."""
    decay_ratio: Annotated[float, Field(ge=0, le=1)] = 0.65
    """Share of all steps, at the end, over which the learning rate falls."""
    final_lr_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Learning rate at the end, as a share of the full one."""


class PretrainConfig(StageConfig):
    """Train a language model to predict the next token of packed rows, or (bert) the masked ones."""

    optim: OptimConfig = OptimConfig()
    """Learning rates and their company."""
    schedule: ScheduleConfig = ScheduleConfig()
    """The learning rate over the run."""
    tokens: PositiveInt = 1_500_000
    """Budget: tokens to train on, rounded up to whole steps. More than the shards hold means several epochs."""
    batch_rows: PositiveInt = 8
    """Rows of one optimizer step, over all processes."""
    micro_rows: PositiveInt = 8
    """Rows of one forward pass in one process; fewer need less memory. Gradients are summed by exact token counts."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Precision of matrix products; weights and optimizer state stay float32."""
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
    """Steps with a loss or gradient that is not finite that are skipped before the run stops and names their rows."""
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
        return math.ceil(self.tokens / (self.batch_rows * seq_len))


class PretrainRun(Schema):
    """`run.yaml`: everything that `python -m gristmill.train.pretrain` is told."""

    tokens: Path
    """Folder of token shards."""
    tokenizer: Path
    """Folder of the tokenizer that made them; it becomes part of the model's folder."""
    start: Path | None = None
    """Folder of the model to go on from, where `model.start` is an artifact or an open model."""
    model: ModelConfig = ModelConfig()
    """What is trained, and from which weights."""
    config: PretrainConfig = PretrainConfig()
    """What is computed."""
    resources: Resources = Resources()
    """How: threads of each process, device, and how the model lies across processes."""
    leave_checkpoints: bool = False
    """Keep the checkpoints, the last step's among them, in the finished folder: to compare optimizer states."""
