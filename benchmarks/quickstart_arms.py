"""The trainings of alignment.py on the quickstart's own model: from scratch, some millions of weights.

Parents, rows and settings are those of a finished `gristmill run --config quickstart`; only the seed differs.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gristmill.align.config import DpoConfig
from gristmill.align.dpo import run_dpo
from gristmill.align.online.config import (
    FinishedReward,
    GrpoConfig,
    JudgeModelReward,
    MonitorConfig,
    PpoConfig,
    RandomReward,
    RepetitionReward,
    RewardModelReward,
)
from gristmill.align.online.run import run_online
from gristmill.align.reward_model import run_reward_model
from gristmill.align.sft import run_sft
from gristmill.config import PipelineConfig
from gristmill.evaluate.bits_per_byte import bits_of, nats_and_bytes
from gristmill.evaluate.checkpoints import load_model
from gristmill.evaluate.statistics import paired_difference
from gristmill.export.price import SPLIT, open_shards
from gristmill.report import Report
from gristmill.schema import Resources
from gristmill.yaml import load_yaml

CPU = Resources(threads=1, device="cpu")
ROOT = Path(__file__).parents[1]
POLICY = "policy"


class Quickstart:
    """Folders of a finished run: what `last_run.json` beside the artifacts says."""

    def __init__(self, last_run: Path) -> None:
        run = json.loads(last_run.read_text())
        if run["config"] != "quickstart" or run["error"]:
            raise ValueError(f"{last_run} is of {run['config']} and says {run['error']}; expected a whole quickstart")
        self.folder = {stage["stage"]: last_run.parent / stage["key"] for stage in run["stages"]}
        self.config = load_yaml(ROOT / "pipeline_configs" / "quickstart.yaml", [], PipelineConfig)

    def run(self, arm: str, out: Path, seed: int) -> dict[str, Any]:
        """One training; what it measured on held-out rows before and after, and what it cost on pages."""
        trainings = {"sft": self._sft, "reward_model": self._reward_model, "dpo": self._dpo}
        found = trainings[arm](out, seed) if arm in trainings else self._online(arm, out, seed)
        if arm == "reward_model":  # it says nothing
            return found
        parent = self.folder["pretrain" if arm == "sft" else "sft"]
        return found | self._bits_per_byte(parent, out if arm in trainings else out / POLICY)

    def _bits_per_byte(self, parent: Path, child: Path) -> dict[str, float]:
        """Of both on all validation pages, and the paired difference over rows of tokens."""
        shards = open_shards(self.folder["tokenize"], child)
        models = [load_model(folder, torch.device("cpu"))[0] for folder in (parent, child)]
        before, after = (
            np.array([bits_of(*nats_and_bytes(model, shards, SPLIT, rows=[row])) for row in range(shards.rows(SPLIT))])
            for model in models
        )
        return {
            "bits_per_byte_before": float(before.mean()),
            "bits_per_byte_after": float(after.mean()),
            **paired_difference(after, before, seed=0).metrics("bits_per_byte_change"),
        }

    def _sft(self, out: Path, seed: int) -> dict[str, Any]:
        config = self.config.sft.model_copy(update={"seed": seed})
        report = run_sft(self.folder["pretrain"], self.folder["examples"], out, config, CPU)
        found = report.metrics
        return {
            "before": found["held_out_nats_per_token_before"],
            "after": found["held_out_nats_per_token"],
            **difference(report, "held_out_nats_per_token_change"),
            "n": report.details["held_out_rows"],
            "rows_better": found["held_out_rows_better"],
        }

    def _reward_model(self, out: Path, seed: int) -> dict[str, Any]:
        report = self._scorer(out, seed, half=None)
        by_fault = report.details.get("held_out_accuracy_by_fault", {})
        return {
            "before": report.metrics["length_baseline_accuracy"],
            "after": report.metrics["held_out_accuracy"],
            **difference(report, "held_out_accuracy_minus_length"),
            "n": report.details["held_out_pairs"],
            **{f"accuracy_{fault}": found["accuracy"] for fault, found in by_fault.items()},
        }

    def _scorer(self, out: Path, seed: int, *, half: int | None) -> Report:
        config = self.config.reward_model.model_copy(update={"seed": seed, "half": half})
        return run_reward_model(self.folder["sft"], self.folder["examples"], out, config, CPU)

    def _dpo(self, out: Path, seed: int) -> dict[str, Any]:
        assert isinstance(self.config.align, DpoConfig)
        config = self.config.align.model_copy(update={"seed": seed, "answered_prompts": 0})
        return of_pairs(run_dpo(self.folder["sft"], self.folder["examples"], None, out, config, CPU), out)

    def _online(self, arm: str, out: Path, seed: int) -> dict[str, Any]:
        """Paid by a reward model and by rules of form, judged by a reward model that learned from other pairs."""
        for name, half in (("scores", 0), ("judge", 1)):
            (out / name).mkdir()
            self._scorer(out / name, seed, half=half)
        paid = [RewardModelReward(), FinishedReward(weight=0.5), RepetitionReward(weight=-0.5)]
        config = (PpoConfig if arm == "ppo" else GrpoConfig)(
            rewards=[RandomReward()] if arm == "random_reward" else paid,
            monitors=MonitorConfig(judge=[JudgeModelReward()], max_kl=None, max_repetition=1.0),
            steps=40,
            max_new_tokens=32,
            lr=5e-5,
            held_out_prompts=200,
            eval_every_steps=20,
            seed=seed,
        )
        policy = out / POLICY
        policy.mkdir()
        report = run_online(
            self.folder["sft"],
            self.folder["examples"],
            out / "scores",
            policy,
            config,
            CPU,
            judge_model=out / "judge",
        )
        rows = [json.loads(line) for line in (policy / "metrics.jsonl").read_text().splitlines()]
        judged = [row["held_out_judge"] for row in rows if "held_out_judge" in row]
        return {
            "before": judged[0],
            "after": judged[-1],
            **difference(report, "held_out_judge_change"),
            "n": report.details["held_out_prompts"],
            "paid_change": report.metrics["held_out_reward_change"],
        }


def of_pairs(report: Report, out: Path) -> dict[str, Any]:
    """What DPO measured on held-out pairs: the share whose chosen answer is likelier per token, before and after, the
    difference pair by pair (`items`), and its own objective. `held_out`: stands for the pairs."""
    pairs = [json.loads(line) for line in (out / "held_out_pairs.jsonl").read_text().splitlines()]
    tokens, before, after = (np.array([pair[name] for pair in pairs]) for name in ("tokens", "logps_before", "logps"))
    preferred_before, preferred = (np.sign(np.diff(-logps / tokens)[:, 0]) for logps in (before, after))
    metrics = report.metrics
    return {
        "before": metrics["held_out_preferred_before"],
        "after": metrics["held_out_preferred"],
        **difference(report, "held_out_preferred_change"),
        "n": report.details["held_out_pairs"],
        "items": ((preferred - preferred_before) / 2).tolist(),
        "held_out": hashlib.sha256(json.dumps([pair["row"] for pair in pairs]).encode()).hexdigest(),
        **{
            name: metrics[f"held_out_{name}"]
            for part in ("reward_accuracy", "loss_change")
            for name in (part, f"{part}_ci_low", f"{part}_ci_high")
        },
        "chosen_logp_change": metrics["chosen_logp_change"],
    }


def difference(report: Report, name: str) -> dict[str, float]:
    """A paired difference and its interval, as the benchmark's rows call them."""
    values = (report.metrics[f"{name}{end}"] for end in ("", "_ci_low", "_ci_high"))
    return dict(zip(("difference", "ci_low", "ci_high"), values, strict=True))
