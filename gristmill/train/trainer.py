"""The pretraining loop: from a run file to a Hugging Face model folder, through checkpoints that resume bit by bit.

Left out: sharded parameters (FSDP), activation checkpointing, sequence packing (rows come packed).
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel

from gristmill.evaluate.bits_per_byte import bits_of, nats_and_bytes
from gristmill.metrics import MetricsWriter, StepLog
from gristmill.model.build import build_model, load_model
from gristmill.model.config import weights_digest
from gristmill.model.documents import document_arguments
from gristmill.progress import progress
from gristmill.report import Report
from gristmill.tokens.reader import TokenShards
from gristmill.train.checkpoint import TrainState, digest_of, load_checkpoint, newest_checkpoint, save_checkpoint
from gristmill.train.config import PretrainRun
from gristmill.train.export import check_tokenizer, export_model
from gristmill.train.interrupts import StopRequest, stop_requests
from gristmill.train.loss import IGNORED, summed_nats
from gristmill.train.optimizers import Optimizers
from gristmill.train.peaks import flops_per_token, peak_flops
from gristmill.train.phases import Phases, anneal_begins, check_same_tokenizer
from gristmill.train.precision import resolved_precision
from gristmill.train.profiling import profiled
from gristmill.train.ranks import Ranks, joined_ranks
from gristmill.train.schedule import lr_multiplier
from gristmill.train.supervisor import Outlets, Supervisor
from gristmill.train.telemetry import Telemetry, batch_bytes, last_row, role_norms


def pretrain(run: PretrainRun, out: Path, *, profile: bool = False) -> int:
    """Train, or go on training, and fill `out`. Returns the exit status: 0, or 128 + the signal that stopped it.

    profile: leave a trace of a few steps in `out/profile`.
    """
    with stop_requests() as stop, joined_ranks(run.resources) as ranks:
        trainer = Trainer(run, out, ranks)
        with profiled(out, device=ranks.device) if profile and ranks.is_main else nullcontext() as profiler:
            trained = trainer.train(stop, after_step=profiler.step if profiler else None)
        if not trained:
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
        self.token_bytes = torch.from_numpy(self.shards.token_bytes.astype("int64"))
        self.precision = resolved_precision(self.config.precision, ranks.device)
        anneal = self._anneal_shards()
        self.data = Phases(
            self.shards,
            anneal,
            begins=anneal_begins(self.steps, share=self.config.anneal_share()) if anneal else 0,
            batch_rows=self.config.batch_rows,
            seed=self.config.seed,
            rank=ranks.rank,
            world=ranks.world,
        )
        self.model = self._starting_model()
        self.optimizers = Optimizers(self.model, self.config.optim)
        digests = [shards.meta["digest"] for shards in (self.shards, anneal) if shards]
        decisive = (self.config.identity(), self.precision, run.model.identity(), digests, self._start_digest())
        self.run_digest = digest_of(*decisive)
        self.state = self._resume()
        self.forward = self._forward_module()
        self.telemetry = self._new_telemetry()
        self.supervisor = Supervisor(self)

    def train(self, stop: StopRequest, *, after_step: Callable[[], None] | None = None) -> bool:
        """Take all steps that are left. False when a signal asked to stop: then a checkpoint has been written."""
        saved_at = time.monotonic()
        with ExitStack() as open_until_done:
            outlets = self._open_outlets(open_until_done)
            if outlets:
                print(f"pretrain: {self._plan()}", file=sys.stderr, flush=True)
            while self.state.step < self.steps and not self.supervisor.ends_early():
                overdue = time.monotonic() - saved_at >= self.config.checkpoint_every_s
                # asked of all processes together, so that none steps on while another saves or stops
                stopping, saving = self.ranks.sum(stop.signal_number is not None, self.ranks.is_main and overdue)
                if stopping or (saving and self.state.step):
                    self.save()
                    saved_at = time.monotonic()
                if stopping:
                    return False
                self._step_and_report(outlets)
                if after_step:
                    after_step()
        return True

    def finish(self) -> None:
        """Measure the model on all validation rows and write the finished folder."""
        last_step, bits = self.state.step, self.supervisor.final_bits()
        if self.ranks.is_main:
            with MetricsWriter(self.out / "metrics.jsonl", last_step=last_step) as metrics:
                metrics.write(last_step, {"bits_per_byte": bits})
            measured = {
                "steps": self.state.step,
                "epochs": round(self.epochs, 4),
                "parameters": self.parameters,
                "skipped_steps": self.state.skipped_steps,
                "loss": self.state.loss,
                "bits_per_byte": bits,
            }
            there = self.shards.rows("train") * self.seq_len
            report = Report(
                rows_in=there,
                rows_out=self.state.tokens,
                unit="tokens",
                metrics=measured,
                details=self.supervisor.details(),
            )
            export_model(self.model, self.run.tokenizer, self.out, meta=self.shards.meta, report=report)

    @property
    def parameters(self) -> int:
        """Numbers in the model; tied embeddings count once."""
        return sum(weight.numel() for weight in self.model.parameters())

    @property
    def epochs(self) -> float:
        """How often the run sees each training row, before the phase that anneals."""
        steps = self.steps if self.data.begins is None else self.data.begins
        return steps * self.config.batch_rows / self.shards.rows("train")

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
        start = self.run.model.start
        if start.kind == "open":
            return start.path
        if start.kind == "artifact" and self.run.start is None:
            raise ValueError(f"model.start names {start.artifact} but `start`, the folder where it lies, is not given")
        return self.run.start if start.kind == "artifact" else None

    def _anneal_shards(self) -> TokenShards | None:
        """Raises ValueError when the run file does not say where they lie, or their ids mean other text."""
        if self.config.anneal is None:
            return None
        if self.run.anneal is None:
            raise ValueError(
                f"pretrain.anneal names {self.config.anneal.artifact} but `anneal`, the folder where it lies, is not "
                "given"
            )
        shards = TokenShards(self.run.anneal)
        check_same_tokenizer(self.shards, shards)
        return shards

    def _new_telemetry(self) -> Telemetry:
        device, resources = self.ranks.device, self.run.resources
        peak = peak_flops(device, precision=self.precision, stated_tflops=resources.peak_tflops)
        return Telemetry(
            device=device,
            flops_per_token=flops_per_token(self.model, self.seq_len),
            peak_flops=peak * self.ranks.world if peak else None,
            before=last_row(self.out / "metrics.jsonl") if self.state.step else None,
        )

    def _start_digest(self) -> str | None:
        folder = self._start_folder()
        return weights_digest(folder) if folder else None

    def _resume(self) -> TrainState:
        found = newest_checkpoint(self.out / "checkpoints", run_digest=self.run_digest)
        if found is None:
            return TrainState()
        path, state = found
        self.restore(path)
        return state

    def restore(self, checkpoint: Path) -> None:
        weights, optimizer = load_checkpoint(checkpoint)
        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                weight.copy_(weights[name])
        self.optimizers.restore(optimizer)

    def _forward_module(self) -> torch.nn.Module:
        module: torch.nn.Module = self.model
        on_gpu = self.ranks.device.type == "cuda"
        if self.config.compile == "on" or (self.config.compile == "auto" and on_gpu):
            module = torch.compile(module)  # pyright: ignore[reportAssignmentType]
        if self.ranks.world > 1:
            module = DistributedDataParallel(module, broadcast_buffers=False)
        return module

    def _step_and_report(self, outlets: Outlets | None) -> None:
        step, tokens_before = self.state.step, self.state.tokens
        is_logged = step == 0 or (step + 1) % self.config.log_every_steps == 0 or step + 1 == self.steps
        lr = lr_multiplier(step, steps=self.steps, config=self.config.schedule)
        values = self._step(lr, with_roles=is_logged)
        done, tokens = self.state.step, self.state.tokens - tokens_before
        self.telemetry.trained(tokens)
        if outlets:
            outlets.bar.advance(tokens, note=f"step {done}, loss {values['loss']:.3f}")
            if is_logged:
                rates = self.optimizers.learning_rates(lr_multiplier=lr)
                so_far = {"tokens": self.state.tokens, "epoch": round(self.data.epoch(done - 1), 4)}
                outlets.metrics.write(done, {**values, **rates, **so_far, **self.telemetry.row()})
        self.supervisor.after_step(outlets)

    def _step(self, lr: float, *, with_roles: bool = False) -> dict[str, float]:
        """Train on the next rows, unless the guards object: then no weight moves, or all go back to the anchor.

        Returns the loss in nats per token, the training text's bits per byte and the gradient's norm before clipping;
        with_roles: that of each role's weights too. Raises TrainingDiverged.
        """
        step = self.state.step
        with self.telemetry.waiting_for_data():
            rows = torch.from_numpy(self.data.read(step))
            documents = torch.from_numpy(self.data.document_ids(step)) if self.config.document_masking else None
        with self.telemetry.computing():
            targets = rows[:, 1:].where(rows[:, 1:] != self.pad_id, IGNORED)
            counts = (targets != IGNORED).sum().item(), batch_bytes(targets, self.token_bytes)
            tokens, text_bytes = self.ranks.sum(*counts)
            nats = 0.0
            for piece, synchronize in self._pieces(len(rows)):
                inputs_BT, targets_BT = (each[piece].to(self.ranks.device) for each in (rows[:, :-1], targets))
                apart = document_arguments(documents[piece, :-1].to(self.ranks.device)) if documents is not None else {}
                with nullcontext() if synchronize else self.forward.no_sync():  # pyright: ignore[reportCallIssue]
                    piece_nats = self._summed_nats(inputs_BT, targets_BT, apart)
                    # DDP averages gradients over processes; times their number it is the sum over all tokens again
                    (piece_nats * (self.ranks.world / tokens)).backward()
                nats += piece_nats.item()
            (nats,) = self.ranks.sum(nats)
            loss = nats / tokens
            norms = role_norms(self.model) if with_roles else {}
            grad_norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.grad_clip).item()
            verdict = self.supervisor.judge(loss, grad_norm)
            if verdict == "train":
                self.optimizers.step(lr_multiplier=lr)
            self.model.zero_grad()
        self.change(step=step + 1, tokens=self.state.tokens + int(tokens))
        self.supervisor.note(verdict, loss, grad_norm, nats=nats, text_bytes=int(text_bytes))
        values = {"loss": loss, "grad_norm": grad_norm, **norms}
        return values | ({"train_bits_per_byte": bits_of(nats, text_bytes)} if text_bytes else {})

    def _pieces(self, rows: int) -> Iterator[tuple[slice, bool]]:
        """Micro-batches of this process's rows, and whether gradients are exchanged after each (after the last)."""
        size = self.config.micro_rows
        for first in range(0, rows, size):
            yield slice(first, first + size), first + size >= rows or self.ranks.world == 1

    def _summed_nats(self, inputs_BT: Tensor, targets_BT: Tensor, apart: dict[str, Tensor]) -> Tensor:
        """apart: what keeps documents apart, where they are."""
        with torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits_BTV = self.forward(input_ids=inputs_BT, use_cache=False, **apart).logits
        return summed_nats(logits_BTV.flatten(0, 1), targets_BT.flatten(), z_loss=self.config.z_loss)

    def validation_bits(self) -> float:
        """In float32 whatever the training precision, each process on its share of the rows."""
        rows = range(self.ranks.rank, self.shards.rows("validation"), self.ranks.world)
        apart = self.config.document_masking
        sums = nats_and_bytes(self.model, self.shards, "validation", rows=rows, documents_apart=apart)
        return bits_of(*self.ranks.sum(*sums))

    def change(self, **fields: Any) -> None:
        """Replace fields of the state."""
        self.state = self.state.model_copy(update=fields)

    def save(self, kind: str = "") -> None:
        """kind: of a checkpoint that is kept for another reason than to resume from."""
        if self.ranks.is_main:
            save_checkpoint(
                self.out / "checkpoints" / kind,
                self.state,
                run_digest=self.run_digest,
                weights=dict(self.model.named_parameters()),
                optimizer=self.optimizers.state(),
            )

    def _open_outlets(self, stack: ExitStack) -> Outlets | None:
        """Metrics file and progress bar, in the process that reports."""
        if not self.ranks.is_main:
            return None
        metrics = stack.enter_context(MetricsWriter(self.out / "metrics.jsonl", last_step=self.state.step))
        written = None
        if self.config.sample_every_steps:
            written = stack.enter_context(StepLog(self.out / "samples.jsonl", last_step=self.state.step))
        budget = self.steps * self.config.batch_rows * self.seq_len
        bar = stack.enter_context(progress("pretrain", total=budget, unit="tokens", done=self.state.tokens))
        return Outlets(metrics, written, bar)


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
