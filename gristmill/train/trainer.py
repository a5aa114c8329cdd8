"""The pretraining loop: from a run file to a Hugging Face model folder, through checkpoints that resume bit by bit.

Left out: sharded parameters (FSDP), activation checkpointing, sequence packing (rows come packed).
"""

import math
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel

from gristmill.evaluate.bits_per_byte import bits_by_group, sums_by_group
from gristmill.metrics import MetricsWriter, read_metrics
from gristmill.model.build import build_model, load_model
from gristmill.model.config import weights_digest
from gristmill.model.origin import pass_on, read_origin
from gristmill.model.vocabulary import own_tokens
from gristmill.progress import Bar, progress
from gristmill.report import Report
from gristmill.tokens.groups import RowGroups
from gristmill.tokens.reader import TokenShards
from gristmill.train.checkpoint import TrainState, digest_of, load_checkpoint, newest_checkpoint, save_checkpoint
from gristmill.train.config import PretrainRun
from gristmill.train.export import check_tokenizer, export_model
from gristmill.train.interrupts import StopRequest, stop_requests
from gristmill.train.kl import Anchor
from gristmill.train.loader import BatchLoader
from gristmill.train.loss import IGNORED, summed_nats
from gristmill.train.optimizers import Optimizers
from gristmill.train.ranks import Ranks, joined_ranks
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
        ranks.wait()
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
        self.optimizers = Optimizers(self.model, self.config.optim)
        self.anchor = self._anchor()
        self.groups = RowGroups(run.tokens, "validation")
        decisive = (self.config.identity(), run.model.identity(), self.shards.meta["digest"], self._start_digest())
        self.run_digest = digest_of(*decisive)
        self.state = self._resume()
        self.forward = self._forward_module()

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
        return True

    def finish(self) -> None:
        """Measure the model on all validation rows and write the finished folder."""
        bits = self._validation_bits()
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
            there = self.shards.rows("train") * self.seq_len
            details = {"origin": origin.model_dump()} if origin else {}
            report = Report(rows_in=there, rows_out=self.state.tokens, unit="tokens", metrics=measured, details=details)
            if start:
                pass_on(start, self.out)
            export_model(self.model, self.run.tokenizer, self.out, meta=self.shards.meta, report=report)

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
        sizes = self.model.config
        return (
            f"{sizes.num_hidden_layers} layers × {sizes.hidden_size}, {sizes.num_attention_heads} heads, "
            f"feed-forward {sizes.intermediate_size}, {self.parameters:,} parameters; {self.steps:,} steps of "
            f"{self.config.batch_rows} × {self.seq_len} tokens, {self.epochs:.2f} epochs; at step {self.state.step:,}"
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
        return model.to(self.ranks.device).train()  # pyright: ignore[reportArgumentType]

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
        found = newest_checkpoint(self.out / "checkpoints", run_digest=self.run_digest)
        if found is None:
            return TrainState()
        path, state = found
        weights, optimizer = load_checkpoint(path)
        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                weight.copy_(weights[name])
        self.optimizers.restore(optimizer)
        return state

    def _forward_module(self) -> torch.nn.Module:
        module: torch.nn.Module = self.model
        on_gpu = self.ranks.device.type == "cuda"
        if self.config.compile == "on" or (self.config.compile == "auto" and on_gpu):
            module = torch.compile(module)  # pyright: ignore[reportAssignmentType]
        if self.ranks.world > 1:
            module = DistributedDataParallel(module, broadcast_buffers=False)
        return module

    def _step_and_report(self, outlets: "Outlets | None") -> None:
        started, tokens_before = time.monotonic(), self.state.tokens
        lr = lr_multiplier(self.state.step, steps=self.steps, config=self.config.schedule)
        loss, grad_norm = self._step(lr)
        done, tokens = self.state.step, self.state.tokens - tokens_before
        if outlets:
            outlets.bar.advance(tokens, note=f"step {done}, loss {loss:.3f}")
            if done == 1 or done % self.config.log_every_steps == 0 or done == self.steps:
                values = {"loss": loss, "lr": lr * self.config.optim.lr_matrix, "grad_norm": grad_norm}
                if self.anchor:
                    values["kl_to_start"] = self.anchor.mean()
                speed = tokens / (time.monotonic() - started)
                outlets.metrics.write(done, {**values, "tokens": self.state.tokens, "tokens_per_s": round(speed)})
        if done % self.config.eval_every_steps == 0 and done != self.steps:
            self._evaluate(outlets)

    def _evaluate(self, outlets: "Outlets | None") -> None:
        bits = self._validation_bits()
        if outlets:
            outlets.metrics.write(self.state.step, bits)

    def _step(self, lr: float) -> tuple[float, float]:
        """Train on the next rows; no weight moves when loss or gradient is not finite.

        Returns the loss in nats per token and the gradient's norm before clipping. Raises NotFinite.
        """
        step = self.state.step
        rows = torch.from_numpy(self.loader.read(step))
        targets = rows[:, 1:].where(rows[:, 1:] != self.pad_id, IGNORED)
        (tokens,) = self.ranks.sum((targets != IGNORED).sum().item())
        nats = 0.0
        for inputs_BT, targets_BT, synchronize in self._micro_batches(rows[:, :-1], targets):
            with nullcontext() if synchronize else self.forward.no_sync():  # pyright: ignore[reportCallIssue]
                piece_nats, objective = self._summed_nats(inputs_BT, targets_BT)
                # DDP averages gradients over processes; times their number it is the sum over all tokens again
                (objective * (self.ranks.world / tokens)).backward()
            nats += piece_nats.item()
        (nats,) = self.ranks.sum(nats)
        loss = nats / tokens
        if step < self.config.embeddings_first_steps:
            self.optimizers.hold_all_but_embeddings()
        grad_norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.grad_clip).item()
        finite = math.isfinite(loss) and math.isfinite(grad_norm)
        if finite:
            self.optimizers.step(lr_multiplier=lr)
        self.model.zero_grad()
        self.state = TrainState(
            step=step + 1,
            tokens=self.state.tokens + int(tokens),
            skipped_steps=self.state.skipped_steps + (not finite),
            loss=loss if finite else self.state.loss,
        )
        if self.state.skipped_steps > self.config.max_skipped_steps:
            raise NotFinite(
                f"step {step + 1}: loss {loss}, gradient norm {grad_norm}, on training rows "
                f"{self.loader.row_indices(step).tolist()}; {self.state.skipped_steps} such steps were met and "
                f"max_skipped_steps={self.config.max_skipped_steps}; look at those rows, or lower optim.lr_matrix"
            )
        return loss, grad_norm

    def _micro_batches(self, inputs: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor, bool]]:
        """Pieces of this process's rows on its device, and whether gradients are exchanged after it (the last)."""
        device, size = self.ranks.device, self.config.micro_rows
        for first in range(0, len(inputs), size):
            piece = slice(first, first + size)
            last = first + size >= len(inputs)
            yield inputs[piece].to(device), targets[piece].to(device), last or self.ranks.world == 1

    def _summed_nats(self, inputs_BT: Tensor, targets_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Nats of the targets, and what is minimized: those, and how far the model has moved from its start."""
        with torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            logits_BTV = self.forward(input_ids=inputs_BT, use_cache=False).logits
            nats = summed_nats(logits_BTV.flatten(0, 1), targets_BT.flatten())
            if self.anchor is None:
                return nats, nats
            return nats, nats + self.config.kl_to_start * self.anchor.summed_kl(inputs_BT, targets_BT, logits_BTV)

    def _validation_bits(self) -> dict[str, float]:
        """Bits per byte, of all rows and by language, in float32 whatever the training precision.

        Each process measures its share of the rows.
        """
        rows = range(self.ranks.rank, self.shards.rows("validation"), self.ranks.world)
        mine = sums_by_group(self.model, self.shards, "validation", rows=rows, groups=self.groups)
        return bits_by_group(np.reshape(self.ranks.sum(*mine.ravel().tolist()), mine.shape), self.groups)

    def _save(self) -> None:
        if self.ranks.is_main:
            save_checkpoint(
                self.out / "checkpoints",
                self.state,
                run_digest=self.run_digest,
                weights=dict(self.model.named_parameters()),
                optimizer=self.optimizers.state(),
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
