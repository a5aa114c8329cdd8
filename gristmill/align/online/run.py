"""Online alignment: `python -m gristmill.align.online.run --config run.yaml --out DIR`.

A round: draw prompts, sample a group of answers to each, reward them, make the better ones likelier. Held-out prompts
are answered greedily before, in between and after; their rewards, paired, say what was learned. A monitor that finds
the reward hacked ends the run with an error, and no model is left behind.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gristmill.align.config import OnlineRun
from gristmill.align.data import note_licenses
from gristmill.align.online.config import OnlineConfig
from gristmill.align.online.prompts_config import JsonlPrompts
from gristmill.dedup.decontaminate_config import KeptOut
from gristmill.evaluate.statistics import mean_interval, paired_difference
from gristmill.metrics import MetricsWriter
from gristmill.program import run_program
from gristmill.progress import progress
from gristmill.report import Report
from gristmill.schema import Resources

if TYPE_CHECKING:
    from gristmill.align.online.prompts import Prompt
    from gristmill.align.online.rollout import Answer

SAMPLES = "samples.jsonl"
SAMPLES_SHOWN = 8


def run_online(
    model: Path,
    examples: Path | None,
    reward_model: Path | None,
    out: Path,
    config: OnlineConfig,
    resources: Resources,
    *,
    judge_model: Path | None = None,
    kept_out: KeptOut | None = None,
) -> Report:
    """Optimize the policy in folder `model` against `config.rewards`; write a model folder and metrics.jsonl to `out`.

    kept_out: prompts that hold one of these items do not train.

    Raises ValueError for prompts or rewards that do not go together, RewardHacked when a monitor stops the run.
    """
    import torch

    from gristmill.align import trl_adapter
    from gristmill.align.data import write_dropped
    from gristmill.align.online.learner import Learner
    from gristmill.align.online.monitors import Monitors
    from gristmill.align.online.prompts import read_prompts
    from gristmill.align.online.rewards import Rewards, repetition, reward_model_scorer
    from gristmill.align.online.rollout import Endings, sample
    from gristmill.evaluate.chat_format import end_of_turn
    from gristmill.evaluate.checkpoints import load_model, prepare_process
    from gristmill.evaluate.generation import stop_ids

    device = prepare_process(resources)
    policy, tokenizer = load_model(model, device)
    reference = load_model(model, device)[0].eval().requires_grad_(False)
    policy.eval()  # no dropout: answers are scored by the model that gave them
    if config.chat:
        trl_adapter.check_tokenizer(tokenizer)
    room = policy.config.get_text_config().max_position_embeddings - config.max_new_tokens
    train, held_out, dropped = read_prompts(config, examples, tokenizer, room=room, kept_out=kept_out)
    asked = {"max_new_tokens": config.max_new_tokens, "seed": config.seed}
    scorers = {}
    for kind, folder, is_asked in (
        ("reward_model", reward_model, config.asks_reward_model),
        ("judge_model", judge_model, config.asks_judge_model),
    ):
        if is_asked and folder is None:
            raise ValueError(f"a reward is of kind {kind} but no such model was given")
        if is_asked and folder:
            scorers[kind] = reward_model_scorer(folder, tokenizer, device)
    rewarded = Rewards(config.rewards, **asked, scorers=scorers)
    judge = Rewards(config.monitors.judge, **asked, scorers=scorers) if config.monitors.judge else None
    own_ends = [*stop_ids(policy), *(end_of_turn(tokenizer) if config.chat else [])]
    endings = Endings(frozenset(own_ends), config.stop)

    def answer(prompts: "Sequence[Prompt]", *, copies: int, temperature: float, seed: int) -> "list[Answer]":
        return sample(
            policy,
            tokenizer,
            prompts,
            group_size=copies,
            max_new_tokens=config.max_new_tokens,
            temperature=temperature,
            endings=endings,
            seed=seed,
        )

    def examined() -> _Examined:
        answers = answer(held_out, copies=1, temperature=0.0, seed=0)
        reward, parts = rewarded(answers)
        return _Examined(answers, reward, parts, judge(answers)[0] if judge else None)

    learner = Learner(policy, reference, config)
    before = after = examined()
    monitors = Monitors(config.monitors, seed=config.seed, reward=before.reward, judged=before.judged)
    order = _Order(len(train), config)
    with MetricsWriter(out / "metrics.jsonl") as metrics, progress("align", total=config.steps, unit="steps") as bar:
        metrics.write(0, before.metrics())
        for step in range(1, config.steps + 1):
            prompts = [train[number] for number in order.at(step - 1)]
            answers = answer(
                prompts, copies=config.group_size, temperature=config.temperature, seed=_seed(config.seed, step)
            )
            reward, parts = rewarded(answers)
            is_measured = step % config.eval_every_steps == 0 or step == config.steps
            learned = learner.learn(
                answers,
                torch.from_numpy(reward).to(device),
                lr_share=min(1.0, step / max(1.0, config.lr_warmup_ratio * config.steps)),
                measure_kl=is_measured,
            )
            measured = {
                **learned,
                "reward": float(reward.mean()),
                **{f"reward_{name}": float(values.mean()) for name, values in parts.items()},
                "answer_tokens": float(np.mean([len(answer.ids) for answer in answers])),
                "finished": float(np.mean([answer.finished for answer in answers])),
                "repetition": float(np.mean([repetition(answer.text) for answer in answers])),
            }
            monitors.check_step(step, measured)
            if is_measured:
                after = examined()
                measured |= after.metrics()
                monitors.check_held_out(step, after.reward, after.judged)
            metrics.write(step, measured)
            bar.advance(note=f"reward {measured['reward']:.3f}")
    _write_samples(out, before, after)
    trl_adapter.save_checkpoint(policy, model, out, tokenizer)
    license = config.prompts.license if isinstance(config.prompts, JsonlPrompts) else None
    note_licenses(out, "align", license, config.prompts.kind, examples)
    return Report(
        rows_in=len(train) + len(held_out) + len(dropped),
        rows_out=config.steps * config.prompts_per_step * config.group_size,
        unit="answers",
        dropped=write_dropped(dropped, out),
        metrics=_comparison(before, after, config),
        details={"held_out_prompts": len(held_out), "train_prompts": len(train)},
    )


@dataclass(frozen=True)
class _Examined:
    """Greedy answers to the held-out prompts and what they got."""

    answers: "list[Answer]"
    reward: np.ndarray
    parts: dict[str, np.ndarray]
    judged: np.ndarray | None

    def metrics(self) -> dict[str, float]:
        found = {"held_out_reward": float(self.reward.mean())}
        found |= {f"held_out_reward_{name}": float(values.mean()) for name, values in self.parts.items()}
        return found if self.judged is None else {**found, "held_out_judge": float(self.judged.mean())}


class _Order:
    """Prompts of each step: a pure function of seed and step; each is asked once before any is asked again."""

    def __init__(self, prompts: int, config: OnlineConfig) -> None:
        self._prompts, self._each, self._seed = prompts, min(config.prompts_per_step, prompts), config.seed
        if config.prompts_per_step > prompts:
            raise ValueError(
                f"prompts_per_step={config.prompts_per_step} but there are {prompts} prompts to train on; "
                "ask for fewer or give more"
            )

    def at(self, step: int) -> list[int]:
        # an epoch is cut to whole steps, so that no step asks a prompt twice
        epoch, place = divmod(step, self._prompts // self._each)
        shuffled = np.random.default_rng([self._seed, epoch]).permutation(self._prompts)
        return shuffled[place * self._each : (place + 1) * self._each].tolist()


def _seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])


def _comparison(before: _Examined, after: _Examined, config: OnlineConfig) -> dict[str, float]:
    """Held-out rewards before and after, with a paired interval; each part of the reward likewise."""
    found: dict[str, float] = {"held_out_reward_before": float(before.reward.mean())}
    found |= mean_interval(after.reward, seed=config.seed).metrics("held_out_reward")
    found |= paired_difference(after.reward, before.reward, seed=config.seed).metrics("held_out_reward_change")
    for name in after.parts if len(after.parts) > 1 else ():
        change = paired_difference(after.parts[name], before.parts[name], seed=config.seed)
        found |= change.metrics(f"held_out_{name}_change")
    if before.judged is not None and after.judged is not None:
        found |= paired_difference(after.judged, before.judged, seed=config.seed).metrics("held_out_judge_change")
    return found


def _write_samples(out: Path, before: _Examined, after: _Examined) -> None:
    rows: list[dict[str, Any]] = [
        {
            "prompt": old.prompt.text,
            "reference": old.prompt.reference,
            "before": old.text,
            "after": new.text,
            "reward_before": float(before.reward[number]),
            "reward_after": float(after.reward[number]),
        }
        for number, (old, new) in enumerate(zip(before.answers, after.answers, strict=True))
    ]
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows[:SAMPLES_SHOWN])
    (out / SAMPLES).write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    run_program(
        "gristmill.align.online.run",
        OnlineRun,
        lambda run, out: run_online(
            run.model,
            run.examples,
            run.reward_model,
            out,
            run.config,
            run.resources,
            judge_model=run.judge_model,
            kept_out=run.kept_out,
        ),
    )
