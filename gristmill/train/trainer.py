"""The pretraining loop: from a run file to a Hugging Face model folder, through checkpoints that resume bit by bit.

Left out: sequence packing (rows come packed).
"""

import math
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from gristmill.evaluate.bits_per_byte import bits_by_group, sums_by_group
from gristmill.metrics import MetricsWriter, read_metrics
from gristmill.model.build import build_model, load_model
from gristmill.model.config import ModelConfig, weights_digest
from gristmill.model.families import describe_sizes
from gristmill.model.origin import pass_on, read_origin
from gristmill.model.vocabulary import own_tokens
from gristmill.progress import Bar, progress
from gristmill.report import Report
from gristmill.tokens.groups import RowGroups
from gristmill.tokens.reader import TokenShards
from gristmill.train.checkpoint import TrainState, newest_checkpoint, save_checkpoint
from gristmill.train.config import PretrainConfig, PretrainRun
from gristmill.train.export import check_tokenizer, export_model
from gristmill.train.interrupts import StopRequest, stop_requests
from gristmill.train.kl import Anchor
from gristmill.train.loader import BatchLoader
from gristmill.train.loss import IGNORED
from gristmill.train.objective import Objective, Piece
from gristmill.train.optimizers import Optimizers
from gristmill.train.parallel import ParallelModel
from gristmill.train.ranks import Ranks, joined_ranks
from gristmill.train.recipe import Recipe, digest_of
from gristmill.train.schedule import lr_multiplier


class NotFinite(RuntimeError):
    """Training met more steps with a NaN or infinite loss than it may skip."""


def pretrain(run: PretrainRun, out: Path) -> int:
    """Train, or go on training, and fill `out`. Returns the exit status: 0, or 128 + the signal that stopped it."""
    with stop_requests() as stop, joined_ranks(run.resources) as ranks:
        trainer = Trainer(run, out, ranks)
        if not trainer.train(stop):
            return stop.exit_status
        trainer.finish()
        return 0


class Trainer:
    """A run in one process: model, optimizers and how far they are."""

    def __init__(self, run: PretrainRun, out: Path, ranks: Ranks) -> None:
        self.run, self.config, self.out, self.ranks = run, run.config, out, ranks
        self.shards = TokenShards(run.tokens)
        _check(run, self.shards, ranks)
        self.pad_id: int = self.shards.meta["pad_id"]
        self.seq_len: int = self.shards.meta["seq_len"]
        self.steps = self.config.steps(self.seq_len)
        self.loader = BatchLoader(
            self.shards, batch_rows=self.config.batch_rows, seed=self.config.seed, rank=ranks.rank, world=ranks.world
        )
        self.model = self._starting_model()
        self.objective = Objective(
            self.model,
            self.shards,
            tokenizer=run.tokenizer,
            seed=self.config.seed,
            anchor=self._anchor(),
            kl_weight=self.config.kl_to_start,
        )
        self.groups = RowGroups(run.tokens, "validation")
        self.parallel = ParallelModel(self.model, ranks, run.resources, compiled=self._compiled())
        self.optimizers = Optimizers(self.model, self.config.optim, mesh=self.parallel.mesh)
        self.recipe: Recipe = {
            "config": self.config.identity(),
            "model": run.model.identity(),
            "tokens": self.shards.meta["digest"],
            "start": self._start_digest(),
        }
        self.state = self._resume()

    def train(self, stop: StopRequest) -> bool:
        """Take all steps that are left. False when a signal asked to stop: then a checkpoint has been written."""
        saved_at = time.monotonic()
        with ExitStack() as open_until_done:
            outlets = self._open_outlets(open_until_done)
            if outlets:
                print(f"pretrain: {self._plan()}", file=sys.stderr, flush=True)
            if not self.state.step and self._start_folder():
                self._evaluate(outlets)  # what the start knew, before anything is forgotten
            while self.state.step < self.steps:
                overdue = time.monotonic() - saved_at >= self.config.checkpoint_every_s
                # asked of all processes together, so that none steps on while another saves or stops
                stopping, saving = self.ranks.sum(stop.signal_number is not None, self.ranks.is_main and overdue)
                if stopping or (saving and self.state.step):
                    self._save()
                    saved_at = time.monotonic()
                if stopping:
                    return False
                self._step_and_report(outlets)
        if self.run.leave_checkpoints:
            self._save()
        return True

    def finish(self) -> None:
        """Measure the model on all validation rows and write the finished folder."""
        bits = self._validation_bits()
        weights = self.parallel.whole_weights()
        start = self._start_folder()
        if self.ranks.is_main:
            with MetricsWriter(self.out / "metrics.jsonl", last_step=self.steps) as metrics:
                metrics.write(self.steps, bits)
            at_start = next((row for row in read_metrics(self.out / "metrics.jsonl") if row["step"] == 0), {})
            measured = {
                "steps": self.steps,
                "epochs": round(self.epochs, 4),
                "parameters": self.parameters,
                "skipped_steps": self.state.skipped_steps,
                "loss": self.state.loss,
                **bits,
                **{f"{name}_at_start": value for name, value in at_start.items() if name in bits},
            }
            origin = read_origin(start) if start else None
            details = {"origin": origin.model_dump()} if origin else {}
            there = self.shards.rows("train") * self.seq_len
            report = Report(rows_in=there, rows_out=self.state.tokens, unit="tokens", metrics=measured, details=details)
            if start:
                pass_on(start, self.out)
            export_model(
                self.model, self.run.tokenizer, self.out, weights=weights, meta=self.shards.meta, report=report
            )
            if not self.run.leave_checkpoints:
                shutil.rmtree(self.out / "checkpoints", ignore_errors=True)

    @property
    def parameters(self) -> int:
        """Numbers in the model; tied embeddings count once."""
        return sum(weight.numel() for weight in self.model.parameters())

    @property
    def epochs(self) -> float:
        """How often the run sees each training row."""
        return self.steps * self.config.batch_rows / self.shards.rows("train")

    def _plan(self) -> str:
        """What the configuration comes to, for a person to read."""
        return (
            f"{describe_sizes(self.model.config)}, {self.parameters:,} parameters; {self.steps:,} steps of "
            f"{self.config.batch_rows} × {self.seq_len} tokens, {self.epochs:.2f} epochs; {self.parallel.mode}, "
            f"{self.ranks.world} process(es); at step {self.state.step:,}"
        )

    def _starting_model(self) -> PreTrainedModel:
        meta = self.shards.meta
        sizes = {"vocab_size": meta["vocab_size"], "max_seq_len": self.seq_len}
        folder = self._start_folder()
        if folder:
            model = load_model(folder, tokenizer=self.run.tokenizer, **sizes)
        else:
            tokens = {name: meta[name] for name in ("bos_id", "eos_id", "pad_id")}
            model = build_model(self.run.model, **sizes, **tokens, seed=self.config.seed)
        return model.train()

    def _start_folder(self) -> Path | None:
        kind = self.run.model.start.kind
        if kind != "scratch" and self.run.start is None:
            raise ValueError(f"model.start is of kind {kind}, but `start`, the folder of that model, is not given")
        return self.run.start if kind != "scratch" else None

    def _start_digest(self) -> str | None:
        folder = self._start_folder()
        return weights_digest(folder) if folder else None

    def _anchor(self) -> Anchor | None:
        folder = self._start_folder()
        if not self.config.kl_to_start:
            return None
        if folder is None:
            raise ValueError("pretrain.kl_to_start has no model to hold on to: model.start is scratch; set it to 0")
        return Anchor(self.model, bos_id=self.shards.meta["bos_id"], own_tokens=own_tokens(folder, self.model))

    def _resume(self) -> TrainState:
        """Take over the newest checkpoint, which the main process chooses for all."""
        found = None
        if self.ranks.is_main:
            defaults = {"config": PretrainConfig().identity(), "model": ModelConfig().identity()}
            found = newest_checkpoint(self.out / "checkpoints", recipe=self.recipe, defaults=defaults)
        found = self.ranks.from_main(found)
        if found is None:
            return TrainState()
        weights = found.weights()
        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                weight.copy_(weights.read_like(name, weight))
        self.optimizers.restore(found.optimizer())
        return found.state

    def _compiled(self) -> bool:
        on_gpu = self.ranks.device.type == "cuda"
        return self.config.compile == "on" or (self.config.compile == "auto" and on_gpu)

    def _step_and_report(self, outlets: "Outlets | None") -> None:
        started, tokens_before = time.monotonic(), self.state.tokens
        lr = lr_multiplier(self.state.step, steps=self.steps, config=self.config.schedule)
        loss, measured = self._step(lr)
        done, tokens = self.state.step, self.state.tokens - tokens_before
        if outlets:
            outlets.bar.advance(tokens, note=f"step {done}, loss {loss:.3f}")
            if done == 1 or done % self.config.log_every_steps == 0 or done == self.steps:
                values = {"loss": loss, "lr": lr * self.optimizers.lr_of_matrices, **measured}
                speed = tokens / (time.monotonic() - started)
                outlets.metrics.write(done, {**values, "tokens": self.state.tokens, "tokens_per_s": round(speed)})
        if done % self.config.eval_every_steps == 0 and done != self.steps:
            bits = self._evaluate(outlets)
            best = self.state.best_bits_per_byte
            if best is None or bits < best:
                self.state = self.state.model_copy(update={"best_step": done, "best_bits_per_byte": bits})
                if self.config.keep_best:
                    self._save()

    def _evaluate(self, outlets: "Outlets | None") -> float:
        measured = self._validation_bits()
        if outlets:
            outlets.metrics.write(self.state.step, measured)
        return measured[self.objective.metric]

    def _step(self, lr: float) -> tuple[float, dict[str, float]]:
        """Train on the next rows; no weight moves when loss or gradient is not finite.

        Returns the loss in nats per predicted token and what else was measured, such as `grad_norm`, the gradient's
        norm before clipping. Raises NotFinite.
        """
        step = self.state.step
        rows = self.loader.read(step)
        inputs, targets = self.objective.examples(rows, numbers=self.loader.my_row_indices(step), step=step)
        read, tokens = self.ranks.sum((rows[:, 1:] != self.pad_id).sum().item(), (targets != IGNORED).sum().item())
        pieces = list(self._micro_batches(inputs, targets))
        step_loss = self.objective.begin_step(self._output, pieces, sum_over_ranks=self.ranks.sum)
        nats = 0.0
        for place, piece in enumerate(pieces, start=1):
            with self.parallel.exchanging_gradients(last=place == len(pieces)):
                total, piece_nats = step_loss.of(*piece)
                # the exchange averages gradients over processes; times their number it is the sum over all tokens again
                (total * (self.ranks.world / tokens)).backward()
            nats += piece_nats.item()
        (nats,) = self.ranks.sum(nats)
        loss = nats / tokens
        if step < self.config.embeddings_first_steps:
            self.optimizers.hold_all_but_embeddings()
        grad_norm = self.parallel.clip_gradients(self.config.optim.grad_clip)
        finite = math.isfinite(loss) and math.isfinite(grad_norm)
        if finite:
            self.optimizers.step(lr_multiplier=lr)
        self.model.zero_grad()
        self.state = self.state.model_copy(
            update={
                "step": step + 1,
                "tokens": self.state.tokens + int(read),
                "skipped_steps": self.state.skipped_steps + (not finite),
                "loss": loss if finite else self.state.loss,
                "rows_digest": digest_of(self.state.rows_digest, self.loader.row_indices(step).tolist()),
            }
        )
        if self.state.skipped_steps > self.config.max_skipped_steps:
            raise NotFinite(
                f"step {step + 1}: loss {loss}, gradient norm {grad_norm}, on training rows "
                f"{self.loader.row_indices(step).tolist()}; {self.state.skipped_steps} such steps were met and "
                f"max_skipped_steps={self.config.max_skipped_steps}; look at those rows, or lower optim.lr_matrix"
            )
        return loss, {"grad_norm": grad_norm, **step_loss.metrics(tokens)}

    def _micro_batches(self, inputs: Tensor, targets: Tensor) -> Iterator[Piece]:
        """Pieces of this process's rows on its device."""
        device, size = self.ranks.device, self.config.micro_rows
        for first in range(0, len(inputs), size):
            piece = slice(first, first + size)
            yield inputs[piece].to(device), targets[piece].to(device)

    def _output(self, inputs_BT: Tensor, **wanted: Any) -> Any:
        with torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            return self.parallel.forward(input_ids=inputs_BT, use_cache=False, **wanted)

    def _validation_bits(self) -> dict[str, float]:
        """Of all rows, and by language and source; in float32 whatever the training precision, each process on its
        share of the rows.

        All read equally many, since each forward pass of a sharded model needs every process; what is beyond the last
        row is read and not counted.
        """
        total, world = self.shards.rows("validation"), self.ranks.world
        rows = range(self.ranks.rank, -(-total // world) * world, world)
        mine = sums_by_group(
            self.model,
            self.shards,
            "validation",
            rows=[row % total for row in rows],
            groups=self.groups,
            examples=self.objective.validation_examples,
            counted=len([row for row in rows if row < total]),
        )
        sums = np.reshape(self.ranks.sum(*mine.ravel().tolist()), mine.shape)
        return bits_by_group(sums, self.groups, metric=self.objective.metric)

    def _save(self) -> None:
        save_checkpoint(
            self.out / "checkpoints",
            self.state,
            recipe=self.recipe,
            weights=dict(self.model.named_parameters()),
            optimizer=self.optimizers.state(),
            ranks=self.ranks,
            keep=self.config.keep_checkpoints,
        )

    def _open_outlets(self, stack: ExitStack) -> "Outlets | None":
        """Metrics file and progress bar, in the process that reports."""
        if not self.ranks.is_main:
            return None
        metrics = stack.enter_context(MetricsWriter(self.out / "metrics.jsonl", last_step=self.state.step))
        budget = self.steps * self.config.batch_rows * self.seq_len
        bar = stack.enter_context(progress("pretrain", total=budget, unit="tokens"))
        bar.advance(self.state.tokens)
        return Outlets(metrics, bar)


@dataclass(frozen=True)
class Outlets:
    """Where a running program says how it goes."""

    metrics: MetricsWriter
    bar: Bar


def _check(run: PretrainRun, shards: TokenShards, ranks: Ranks) -> None:
    """Raises ValueError for what would otherwise stop the run after its last step."""
    check_tokenizer(run.tokenizer)
    if run.config.batch_rows % ranks.world:
        raise ValueError(
            f"batch_rows={run.config.batch_rows} cannot be shared by {ranks.world} processes; "
            f"make it a multiple of {ranks.world}"
        )
    if not shards.rows("validation"):
        raise ValueError("the token shards hold no validation rows; give that split a larger share of pages")
