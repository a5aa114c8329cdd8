"""What is done about a run between its steps: guards act, validation is measured, samples are written, anchors kept.

Anchors, checkpoints that the weights may be set back to, lie in a folder of their own, `checkpoints/anchors`; the best
one lies among those to resume from. The state names both by step, so a resumed run uses the same ones. Where a damaged
one is needed the run ends.
"""

import logging
import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gristmill.evaluate.bits_per_byte import bits_of
from gristmill.metrics import MetricsWriter, StepLog
from gristmill.progress import Bar
from gristmill.train import early_stop, guards
from gristmill.train.checkpoint import Checkpoint
from gristmill.train.samples import samples

if TYPE_CHECKING:
    from gristmill.train.trainer import Trainer

logger = logging.getLogger(__name__)

ANCHORS = "anchors"


class TrainingDiverged(RuntimeError):
    """Training met more spikes, or losses that are not finite, than its guards allow."""


@dataclass(frozen=True)
class Outlets:
    """Where a running program says how it goes."""

    metrics: MetricsWriter
    samples: StepLog | None
    bar: Bar


class Supervisor:
    """Looks after a trainer, whose state holds all that it remembers."""

    def __init__(self, trainer: "Trainer") -> None:
        self.trainer, self.config = trainer, trainer.config

    def judge(self, loss: float, grad_norm: float) -> guards.Verdict:
        """What to do with the step whose loss and gradient these are, before it moves a weight."""
        state = self.trainer.state
        if self.trainer.data.begins_anew(state.step):  # losses on other text are no measure for what is a spike
            self._change_guard(losses=())
        finite = math.isfinite(loss) and math.isfinite(grad_norm)
        return guards.judge(
            state.step,
            loss,
            finite=finite,
            state=self.trainer.state.guard,
            config=self.config.guards,
            max_skipped_steps=self.config.max_skipped_steps,
        )

    def note(self, verdict: guards.Verdict, loss: float, grad_norm: float, *, nats: float, text_bytes: int) -> None:
        """Note what became of the step just done; take the weights back where the guards say so.

        nats, text_bytes: summed over its targets. Raises TrainingDiverged.
        """
        trainer, state = self.trainer, self.trainer.state
        guard, step = state.guard, state.step - 1
        if verdict == "train":
            guard = guards.trained_on(loss, state=guard, config=self.config.guards)
            recent = {"recent_nats": state.recent_nats + nats, "recent_bytes": state.recent_bytes + text_bytes}
            trainer.change(loss=loss, guard=guard, **recent)
            return
        what = self._described(step, loss, grad_norm)
        if verdict == "stop":
            raise TrainingDiverged(
                f"{what}; before it {len(guard.skipped)} steps were left out and the weights went back "
                f"{len(guard.left_out)} times (max_skipped_steps={self.config.max_skipped_steps}, "
                f"guards.max_rollbacks={self.config.guards.max_rollbacks}). Look at those documents with "
                "`gristmill trace ID`; or lower optim.lr_matrix"
            )
        logger.warning("%s: %s", what, "left out" if verdict == "skip" else f"back to step {guard.anchor}")
        if verdict == "skip":
            guard = guards.skipped(step, state=guard)
        else:
            anchor = self._kept(ANCHORS, guard.anchor)
            trainer.restore(anchor)
            guard = guards.rolled_back(step, state=guard, anchor=anchor.state.guard)
        trainer.change(guard=guard, skipped_steps=guard.steps_without_effect)

    def after_step(self, outlets: Outlets | None) -> None:
        """What is due now that `trainer.state.step` steps are done."""
        trainer, done = self.trainer, self.trainer.state.step
        if self.config.sample_every_steps and done % self.config.sample_every_steps == 0:
            self._sample(outlets)
        if guards.anchor_is_due(done, state=trainer.state.guard, config=self.config.guards):
            self._change_guard(anchor=done)
            trainer.save(ANCHORS)
        is_due = done % self.config.eval_every_steps == 0 or trainer.data.ends_epoch(done - 1)
        if is_due and done != trainer.steps:
            # last: a run that goes on from the checkpoint this may write does nothing of the above again
            self._validate(outlets)

    def ends_early(self) -> bool:
        """Whether validation has not improved for as long as the configuration waits."""
        return early_stop.is_over(self.trainer.state.evaluations_without_gain, self.config.early_stop)

    def measure(self, outlets: Outlets | None) -> None:
        """Measure validation before the first step; no candidate for the best."""
        measured = self.trainer.validation_bits()
        if outlets:
            outlets.metrics.write(self.trainer.state.step, measured)

    def final_bits(self) -> dict[str, float]:
        """Validation of the result, which the trainer's model is from now on: the last weights, or the best ones.

        By language and source too, where it was measured now.
        """
        trainer = self.trainer
        if not self.ends_early():
            measured, state = trainer.validation_bits(), trainer.state
            bits = measured[trainer.objective.metric]
            if trainer.ranks.is_main:
                name = trainer.objective.metric
                with MetricsWriter(trainer.out / "metrics.jsonl", last_step=state.step, again=name) as metrics:
                    metrics.write(state.step, measured)
            if not self.config.early_stop or early_stop.is_gain(
                bits, best=state.best_bits_per_byte, config=self.config.early_stop
            ):
                return measured
        best = self._kept("", trainer.state.best_step)
        trainer.state = best.state
        trainer.restore(best)
        assert best.state.best_bits_per_byte is not None
        return {trainer.objective.metric: best.state.best_bits_per_byte}

    def details(self) -> dict[str, Any]:
        """What `gristmill trace` and a reader have to know of the steps."""
        trainer, guard = self.trainer, self.trainer.state.guard
        return {
            "precision": trainer.precision,
            "steps_planned": trainer.steps,
            "resolved": self.config.model_dump(mode="json"),
            "anneal_begins": trainer.data.begins,
            "left_out": [list(stretch) for stretch in guard.left_out],
            "skipped": [
                {
                    "step": step,
                    "rows": trainer.data.row_indices(step).tolist(),
                    "documents": trainer.data.documents(step),
                }
                for step in guard.skipped
            ],
        }

    def _described(self, step: int, loss: float, grad_norm: float) -> str:
        z = guards.robust_z(loss, self.trainer.state.guard.losses)
        above = f" ({z:.1f} deviations above the median)" if math.isfinite(z) and z else ""
        where = self.trainer.data.describe(step)
        return f"step {step + 1}: loss {loss}{above}, gradient norm {grad_norm}, on {where}"

    def _kept(self, kind: str, step: int | None) -> Checkpoint:
        """A checkpoint that the state refers to. Raises RuntimeError when it is damaged or gone."""
        assert step is not None
        found = self.trainer.saved(kind, step=step)
        if found is None:
            folder = self.trainer.out / "checkpoints"
            raise RuntimeError(
                f"{folder / kind}: the checkpoint of step {step} is damaged or gone, and the run cannot go on without "
                f"it; remove {folder} to train anew"
            )
        return found

    def _validate(self, outlets: Outlets | None) -> None:
        """Measure validation, how far training is below it, and whether this is the best so far."""
        trainer, state, gap = self.trainer, self.trainer.state, {}
        measured = trainer.validation_bits()
        bits = measured[trainer.objective.metric]
        if state.recent_bytes:
            gap = {"train_validation_gap": bits - bits_of(state.recent_nats, state.recent_bytes)}
        if outlets:
            epoch = round(trainer.data.epoch(state.step), 4)
            outlets.metrics.write(state.step, {**measured, "epoch": epoch, **gap})
        trainer.change(recent_nats=0.0, recent_bytes=0)
        if early_stop.is_gain(bits, best=state.best_bits_per_byte, config=self.config.early_stop):
            trainer.change(best_step=state.step, best_bits_per_byte=bits, evaluations_without_gain=0)
            if self.config.keep_best:
                trainer.save()
        else:
            trainer.change(evaluations_without_gain=state.evaluations_without_gain + 1)

    def _sample(self, outlets: Outlets | None) -> None:
        """Every process writes them: where weights are sharded, one alone could not."""
        trainer, meta = self.trainer, self.trainer.shards.meta
        written = samples(
            trainer.model,
            trainer.run.tokenizer,
            self.config.sample_prompts,
            bos_id=meta["bos_id"],
            eos_id=meta["eos_id"],
            max_tokens=self.config.sample_tokens,
        )
        if outlets and outlets.samples:
            for prompt, text in written.items():
                outlets.samples.append(trainer.state.step, {"prompt": prompt, "text": text})
                print(f"pretrain: step {trainer.state.step}, {prompt!r} goes on {text!r}", file=sys.stderr, flush=True)

    def _change_guard(self, **fields: Any) -> None:
        self.trainer.change(guard=self.trainer.state.guard.model_copy(update=fields))
