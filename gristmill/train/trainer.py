"""The pretraining loop: from a run file to a Hugging Face model folder, through checkpoints that resume bit by bit.

Left out: sequence packing (rows come packed).
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gristmill.evaluate.bits_per_byte import bits_by_group, bits_of, sums_by_group
from gristmill.metrics import MetricsWriter, StepLog, read_metrics
from gristmill.model.config import ModelConfig, weights_digest
from gristmill.model.documents import document_arguments
from gristmill.model.experts import experts_in_autocast
from gristmill.model.families import describe_sizes
from gristmill.model.onednn import onednn_linears
from gristmill.model.origin import pass_on, read_origin
from gristmill.progress import progress
from gristmill.report import Report
from gristmill.tokens.groups import RowGroups
from gristmill.tokens.reader import TokenShards
from gristmill.train.checkpoint import Checkpoint, TrainState, newest_checkpoint, save_checkpoint
from gristmill.train.config import PretrainConfig, PretrainRun, settled
from gristmill.train.dial import facts_of_built, resolve
from gristmill.train.export import check_tokenizer, export_model
from gristmill.train.interrupts import StopRequest, stop_requests
from gristmill.train.loss import IGNORED
from gristmill.train.objective import Objective, Piece
from gristmill.train.optimizers import Optimizers
from gristmill.train.parallel import ParallelModel
from gristmill.train.phases import Phases, anneal_begins, anneal_shards
from gristmill.train.precision import resolved_precision
from gristmill.train.profiling import profiled
from gristmill.train.ranks import Ranks, joined_ranks
from gristmill.train.recipe import Recipe, digest_of
from gristmill.train.schedule import lr_multiplier
from gristmill.train.start import held_to, start_folder, starting_model
from gristmill.train.supervisor import Outlets, Supervisor
from gristmill.train.telemetry import Telemetry, batch_bytes, last_row, role_norms
from gristmill.train.utilization import flops_of_built, peak_flops


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
        return 0


class Trainer:
    """A run in one process: model, optimizers and how far they are."""

    def __init__(self, run: PretrainRun, out: Path, ranks: Ranks) -> None:
        self.run, self.out, self.ranks = run, out, ranks
        self.shards = TokenShards(run.tokens)
        _check(run, self.shards)
        self.pad_id: int = self.shards.meta["pad_id"]
        self.seq_len: int = self.shards.meta["seq_len"]
        self.start = start_folder(run)
        self.model = starting_model(run, self.start, self.shards.meta)
        self.facts = facts_of_built(self.model, seq_len=self.seq_len)
        self.config = resolve(run.config, self.facts)
        self.steps = self.config.steps(self.seq_len)
        self.batch_rows = settled(self.config.batch_rows)
        _check_share(self.batch_rows, ranks)
        self.token_bytes = torch.from_numpy(self.shards.token_bytes.astype("int64"))
        self.precision = resolved_precision(self.config.precision, ranks.device)
        anneal = anneal_shards(run, self.shards)
        self.data = Phases(
            self.shards,
            anneal,
            begins=anneal_begins(self.steps, share=self.config.anneal_share()) if anneal else 0,
            batch_rows=self.batch_rows,
            seed=self.config.seed,
            rank=ranks.rank,
            world=ranks.world,
        )
        self.objective = Objective(
            self.model,
            self.shards,
            tokenizer=run.tokenizer,
            seed=self.config.seed,
            z_loss=self.config.z_loss,
            held_to=held_to(run, self.start, self.model, self.shards.meta),
            kl_weight=self.config.kl_to_start,
            compiled=self._compiled() and ranks.device.type == "cuda",
        )
        self.groups = RowGroups(run.tokens, "validation")
        flops = flops_of_built(self.model, self.facts)
        self.parallel = ParallelModel(self.model, ranks, run.resources, compiled=self._compiled())
        self.optimizers = Optimizers(self.model, self.config.optim, mesh=self.parallel.mesh)
        self.recipe: Recipe = {
            "config": self.config.identity() | {"precision": self.precision},
            "model": run.model.identity(),
            "tokens": self.shards.meta["digest"],
            "start": weights_digest(self.start) if self.start else None,
            **({"anneal": anneal.meta["digest"]} if anneal else {}),
        }
        self.state = self._resume()
        self.telemetry = self._new_telemetry(flops)
        self.supervisor = Supervisor(self)

    def train(self, stop: StopRequest, *, after_step: Callable[[], None] | None = None) -> bool:
        """Take all steps that are left. False when a signal asked to stop: then a checkpoint has been written."""
        saved_at = time.monotonic()
        with ExitStack() as open_until_done:
            outlets = self._open_outlets(open_until_done)
            if not self._compiled():
                open_until_done.enter_context(onednn_linears(self.model))
            open_until_done.enter_context(experts_in_autocast())
            if outlets:
                print(f"pretrain: {self._plan()}", file=sys.stderr, flush=True)
            if not self.state.step and self.start:
                self.supervisor.measure(outlets)  # what the start knew, before anything is forgotten
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
        if self.run.leave_checkpoints:
            self.save()
        return True

    def finish(self) -> None:
        """Measure the model on all validation rows and write the finished folder."""
        bits = self.supervisor.final_bits()
        weights, start = self.parallel.whole_weights(), self.start
        if self.ranks.is_main:
            at_start = next((row for row in read_metrics(self.out / "metrics.jsonl") if row["step"] == 0), {})
            measured = {
                "steps": self.state.step,
                "epochs": round(self._epochs(self.state.step), 4),
                "parameters": self.parameters,
                "skipped_steps": self.state.skipped_steps,
                "loss": self.state.loss,
                **bits,
                **{f"{name}_at_start": value for name, value in at_start.items() if name in bits},
            }
            there, details = self.shards.rows("train") * self.seq_len, self.supervisor.details()
            if start and (origin := read_origin(start)):
                details |= {"origin": origin.model_dump()}
                pass_on(start, self.out)
            report = Report(rows_in=there, rows_out=self.state.tokens, unit="tokens", metrics=measured, details=details)
            export_model(
                self.model, self.run.tokenizer, self.out, weights=weights, meta=self.shards.meta, report=report
            )
            if not self.run.leave_checkpoints:
                shutil.rmtree(self.out / "checkpoints", ignore_errors=True)

    @property
    def parameters(self) -> int:
        """Numbers in the model; tied embeddings count once."""
        return sum(weight.numel() for weight in self.model.parameters())

    def _epochs(self, steps: int) -> float:
        """How often so many steps see each training row, before the phase that anneals."""
        if self.data.begins is not None:
            steps = min(steps, self.data.begins)
        return steps * self.batch_rows / self.shards.rows("train")

    def _plan(self) -> str:
        """What the configuration comes to, for a person to read."""
        return (
            f"{describe_sizes(self.model.config)}, {self.parameters:,} parameters; {self.steps:,} steps of "
            f"{self.batch_rows} × {self.seq_len} tokens, {self._epochs(self.steps):.2f} epochs; "
            f"{self.precision}, {self.parallel.mode}, {self.ranks.world} process(es); at step {self.state.step:,}"
        )

    def _new_telemetry(self, flops: float) -> Telemetry:
        device, stated = self.ranks.device, self.run.resources.peak_tflops
        peak = peak_flops(device, precision=self.precision, stated_tflops=stated)
        return Telemetry(
            device=device,
            flops_per_token=flops,
            peak_flops=peak * self.ranks.world if peak else None,
            before=last_row(self.out / "metrics.jsonl") if self.state.step else None,
        )

    def _resume(self) -> TrainState:
        found = self.saved()
        if found is None:
            return TrainState()
        self.restore(found)
        return found.state

    def saved(self, kind: str = "", *, step: int | None = None) -> Checkpoint | None:
        """The newest checkpoint of a kind, or the one after so many steps; the main process chooses for all."""
        found = None
        if self.ranks.is_main:
            config = resolve(PretrainConfig(), self.facts)
            precision = resolved_precision(config.precision, self.ranks.device)
            defaults = {"config": config.identity() | {"precision": precision}, "model": ModelConfig().identity()}
            folder = self.out / "checkpoints" / kind
            found = newest_checkpoint(folder, recipe=self.recipe, defaults=defaults, step=step)
        return self.ranks.from_main(found)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take over weights and optimizer state."""
        weights = checkpoint.weights()
        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                weight.copy_(weights.read_like(name, weight))
        self.optimizers.restore(checkpoint.optimizer())

    def _compiled(self) -> bool:
        on_gpu = self.ranks.device.type == "cuda"
        return self.config.compile == "on" or (self.config.compile == "auto" and on_gpu)

    def _step_and_report(self, outlets: Outlets | None) -> None:
        step, tokens_before = self.state.step, self.state.tokens
        is_logged = step == 0 or (step + 1) % self.config.log_every_steps == 0 or step + 1 == self.steps
        lr = lr_multiplier(step, steps=self.steps, config=self.config.schedule)
        measured = self._step(lr, with_roles=is_logged)
        done, tokens = self.state.step, self.state.tokens - tokens_before
        self.telemetry.trained(tokens)
        if outlets:
            outlets.bar.advance(tokens, note=f"step {done}, loss {measured['loss']:.3f}")
            if is_logged:
                so_far = {"tokens": self.state.tokens, "epoch": round(self.data.epoch(step), 4)}
                rates = self.optimizers.learning_rates(lr_multiplier=lr)
                outlets.metrics.write(done, {**measured, **rates, **so_far, **self.telemetry.row()})
        self.supervisor.after_step(outlets)

    def _step(self, lr: float, *, with_roles: bool = False) -> dict[str, float]:
        """Train on the next rows, unless the guards object: then no weight moves, or all go back to the anchor.

        Returns `loss` in nats per predicted token and what else was measured, such as `grad_norm`, the gradient's norm
        before clipping; with_roles: that of each role's weights too. Raises TrainingDiverged.
        """
        step = self.state.step
        with self.telemetry.waiting_for_data():
            rows = self.data.read(step)
            inputs, targets = self.objective.examples(rows, numbers=self.data.my_row_indices(step), step=step)
        with self.telemetry.computing():  # copies to a GPU wait for what it still does
            pieces = list(self._micro_batches(inputs, targets, step))
            read, tokens, text_bytes = self.ranks.sum(
                (rows[:, 1:] != self.pad_id).sum().item(),
                (targets != IGNORED).sum().item(),
                batch_bytes(targets, self.token_bytes),
            )
            step_loss = self.objective.begin_step(self._output, pieces, sum_over_ranks=self.ranks.sum)
            all_nats = torch.zeros((), dtype=torch.float64, device=self.ranks.device)
            for place, piece in enumerate(pieces, start=1):
                with self.parallel.exchanging_gradients(last=place == len(pieces)):
                    total, piece_nats = step_loss.of(*piece)
                    # the exchange averages gradients over processes; times their number it is the sum over all tokens
                    (total * (self.ranks.world / tokens)).backward()
                all_nats += piece_nats.detach()
            (nats,) = self.ranks.sum(all_nats.item())
            loss = nats / tokens
            norms = role_norms(self.model) if with_roles else {}
            if step < self.config.embeddings_first_steps:
                self.optimizers.hold_all_but_embeddings()
            grad_norm = self.parallel.clip_gradients(self.config.optim.grad_clip)
            verdict = self.supervisor.judge(loss, grad_norm)
            if verdict == "train":
                self.optimizers.step(lr_multiplier=lr)
            self.model.zero_grad()
        self.change(
            step=step + 1,
            tokens=self.state.tokens + int(read),
            rows_digest=digest_of(self.state.rows_digest, self.data.row_indices(step).tolist()),
        )
        self.supervisor.note(verdict, loss, grad_norm, nats=nats, text_bytes=int(text_bytes))
        bits = {f"train_{self.objective.metric}": bits_of(nats, text_bytes)} if text_bytes else {}
        return {"loss": loss, **bits, "grad_norm": grad_norm, **norms, **step_loss.metrics(tokens)}

    def _micro_batches(self, inputs: Tensor, targets: Tensor, step: int) -> Iterator[Piece]:
        """Pieces of this process's rows on its device."""
        device, size = self.ranks.device, self.config.micro_rows
        masking = self.config.document_masking
        documents = torch.from_numpy(self.data.document_ids(step))[:, : inputs.shape[1]] if masking else None
        for first in range(0, len(inputs), size):
            piece, apart = slice(first, first + size), {}
            if documents is not None:
                apart = document_arguments(
                    documents[piece].to(device), self.model.config, causal=self.objective.is_causal
                )
            yield inputs[piece].to(device), targets[piece].to(device), apart

    def _output(self, inputs_BT: Tensor, **wanted: Any) -> Any:
        with torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return self.parallel.forward(input_ids=inputs_BT, use_cache=False, **wanted)

    def validation_bits(self) -> dict[str, float]:
        """Of all rows, and by language and source; in float32 whatever the training precision, each process on its
        share of the rows.

        All read equally many, since each forward pass of a sharded model needs every process; what is beyond the last
        row is read and not counted.
        """
        total, world = self.shards.rows("validation"), self.ranks.world
        rows = range(self.ranks.rank, -(-total // world) * world, world)
        with torch.compiler.set_stance("force_eager"):  # the last rows are a shape of their own
            mine = sums_by_group(
                self.model,
                self.shards,
                "validation",
                rows=[row % total for row in rows],
                groups=self.groups,
                examples=self.objective.validation_examples,
                counted=len([row for row in rows if row < total]),
                documents_apart=self.config.document_masking,
            )
        sums = np.reshape(self.ranks.sum(*mine.ravel().tolist()), mine.shape)
        return bits_by_group(sums, self.groups, metric=self.objective.metric)

    def change(self, **fields: Any) -> None:
        """Replace fields of the state."""
        self.state = self.state.model_copy(update=fields)

    def save(self, kind: str = "") -> None:
        """Write a checkpoint. kind: of those that are kept for another reason than to resume from."""
        save_checkpoint(
            self.out / "checkpoints" / kind,
            self.state,
            recipe=self.recipe,
            weights=dict(self.model.named_parameters()),
            optimizer=self.optimizers.state(),
            ranks=self.ranks,
            keep=self.config.keep_checkpoints,
        )

    def _open_outlets(self, stack: ExitStack) -> Outlets | None:
        """Metrics, samples and progress bar, in the process that reports."""
        if not self.ranks.is_main:
            return None
        metrics = stack.enter_context(MetricsWriter(self.out / "metrics.jsonl", last_step=self.state.step))
        written = None
        if self.config.sample_every_steps:
            written = stack.enter_context(StepLog(self.out / "samples.jsonl", last_step=self.state.step))
        budget = self.steps * self.batch_rows * self.seq_len
        bar = stack.enter_context(progress("pretrain", total=budget, unit="tokens", done=self.state.tokens))
        return Outlets(metrics, written, bar)


def _check(run: PretrainRun, shards: TokenShards) -> None:
    """Raises ValueError for what would otherwise stop the run after its last step."""
    check_tokenizer(run.tokenizer)
    if not shards.rows("validation"):
        raise ValueError("the token shards hold no validation rows; give that split a larger share of pages")


def _check_share(batch_rows: int, ranks: Ranks) -> None:
    if batch_rows % ranks.world:
        raise ValueError(
            f"batch_rows={batch_rows} cannot be shared by {ranks.world} processes; make it a multiple of {ranks.world}"
        )
