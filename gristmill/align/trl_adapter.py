"""What the three trainings on TRL share: what they ask of a tokenizer, the trainer's arguments, progress, saving.

TRL is the engine for SFT, reward models and DPO; rows come to it tokenized, and measuring before and after is ours.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, TrainerState

from gristmill.align.adapter_config import Adapter
from gristmill.align.config import TrainingConfig
from gristmill.evaluate.chat_format import check_template, end_of_turn
from gristmill.evaluate.checkpoints import same_bits
from gristmill.evaluate.generation import stop_ids
from gristmill.metrics import MetricsWriter
from gristmill.model.origin import pass_on
from gristmill.progress import progress
from gristmill.tokens.config import TOKENIZER_FILES

A = TypeVar("A", bound=transformers.TrainingArguments)

# the trainer also reports its speed; a clock's reading is no result
LOGGED = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "lr",
    "mean_token_accuracy": "token_accuracy",
    "accuracy": "pair_accuracy",
    "margin": "reward_margin",
    "rewards/accuracies": "reward_accuracy",
    "rewards/margins": "reward_margin",
    "logps/chosen": "chosen_logp",
    "logps/rejected": "rejected_logp",
}


def check_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises ValueError for a chat template that hides what is to be learned, or padding that does."""
    check_template(tokenizer)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in end_of_turn(tokenizer):
        raise ValueError(
            f"the tokenizer pads with {tokenizer.pad_token!r}; it needs a token of its own for that, since padding is "
            "masked and the end of a turn must be learned"
        )


def trainer_arguments(kind: type[A], config: TrainingConfig, out: Path, device: torch.device, **more: Any) -> A:
    """Arguments of a trainer that computes on `device` alone; more: those of this kind of trainer.

    transformers itself takes the first GPU in place of the one that is named, and where there are several it hands
    `micro_rows` to each of them (`nn.DataParallel`), so that a step has more rows than `batch_rows`.
    """
    given: dict[str, Any] = {
        "output_dir": str(out),
        "num_train_epochs": config.epochs,
        "learning_rate": config.lr,
        "lr_scheduler_type": "linear",
        "warmup_steps": config.lr_warmup_ratio,  # below 1 it is a share of the steps
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.grad_clip,
        "per_device_train_batch_size": config.micro_rows,
        "gradient_accumulation_steps": config.batch_rows // config.micro_rows,
        "train_sampling_strategy": "group_by_length",
        "length_column_name": "length",
        "remove_unused_columns": False,  # else `length` is gone before the sampler looks for it
        "seed": config.seed,
        "data_seed": config.seed,
        "bf16": config.precision == "bf16",
        "use_cpu": device.type == "cpu",
        "gradient_checkpointing": False,
        "dataloader_pin_memory": device.type != "cpu",
        "logging_steps": config.log_every_steps,
        "logging_first_step": True,
        "save_strategy": "no",
        "eval_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    names = {each.name for each in fields(kind)}
    if "max_length" in names:  # TRL's
        given["max_length"] = None  # rows that are too long were left out, and counted
    if "disable_dropout" in names and config.adapter:  # an adapter's, too
        given["disable_dropout"] = config.adapter.dropout == 0
    arguments = kind(**given | more)
    if device.type == "cuda":
        only = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(only)  # accelerate takes the current one
        arguments.__dict__["_setup_devices"] = only  # the cached property behind `arguments.device`
        arguments._n_gpu = 1
    return arguments


def train(trainer: transformers.Trainer, out: Path, *, label: str) -> None:
    """Run a trainer to its end, with progress on stderr and its numbers in metrics.jsonl.

    Its model computes in the precision of its weights afterwards, as it did before.
    """
    trainer.remove_callback(transformers.PrinterCallback)
    with MetricsWriter(out / "metrics.jsonl") as metrics, ExitStack() as shown:
        trainer.add_callback(_Watch(label, metrics, shown))
        with same_bits(trainer.args.device):
            trainer.train()
    # accelerate put autocast around `forward`, which would round what is measured after training and not before
    trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)


@contextmanager
def learned_positions_alone() -> Iterator[None]:
    """Inside, the head of TRL's KTO looks only at positions that are learned from, on every device.

    TRL 1.16 asks whether the device has Triton, since other numbers of positions make some others compile anew. A CPU
    compiles nothing, and in a vocabulary of 49,152 prompts and padding would be most of the time there.
    """
    with patch("trl.trainer.utils._use_triton", return_value=True):
        yield


class _Watch(TrainerCallback):
    def __init__(self, label: str, metrics: MetricsWriter, shown: ExitStack) -> None:
        self.label, self.metrics, self.shown = label, metrics, shown
        self.note = ""

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        self.bar = self.shown.enter_context(progress(self.label, total=state.max_steps, unit="steps"))

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        self.bar.advance(note=self.note)

    def on_log(
        self, args: Any, state: TrainerState, control: Any, logs: dict[str, float] | None = None, **kwargs: Any
    ) -> None:
        known = {LOGGED[name]: float(value) for name, value in (logs or {}).items() if name in LOGGED}
        if "loss" in known:  # the last call sums up the run instead
            self.metrics.write(state.global_step, known)
            self.note = f"loss {known['loss']:.3f}"


def save_checkpoint(
    model: PreTrainedModel,
    start: Path,
    out: Path,
    tokenizer: PreTrainedTokenizerBase,
    adapter: Adapter | None = None,
) -> None:
    """Write a model folder: weights, configuration, and the tokenizer's files as they were in `start`.

    adapter: what was trained in place of all weights; one that is not merged keeps them to itself.
    """
    if adapter is None or adapter.merge:
        _save_weights(model, out, tokenizer)
    for name in TOKENIZER_FILES:
        if (start / name).is_file():
            shutil.copyfile(start / name, out / name)
    pass_on(start, out)


def _save_weights(model: PreTrainedModel, out: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    if model.can_generate() and model.generation_config is not None:
        ends = end_of_turn(tokenizer) if tokenizer.chat_template else []
        model.generation_config.eos_token_id = sorted({*stop_ids(model), *ends})
    model.config.use_cache = True  # the trainer turned it off, and without it chat is five times slower
    model.save_pretrained(out, max_shard_size="1000GB")
    (out / "model.safetensors").chmod(0o644)  # safetensors makes it readable by its owner only


def context_length(model: PreTrainedModel, config: TrainingConfig) -> int:
    """The longest row that trains: what is configured, or what the model was made for."""
    made_for = model.config.get_text_config().max_position_embeddings
    return min(config.max_tokens or made_for, made_for)
