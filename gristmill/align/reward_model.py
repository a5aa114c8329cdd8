"""A reward model on TRL: `python -m gristmill.align.reward_model --config run.yaml --out DIR`.

The language model's output matrix gives way to one number, read at the end of the assistant's turn. The folder is a
`…ForSequenceClassification` with one label.
"""

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gristmill.align.config import RewardModelConfig, RewardModelRun
from gristmill.align.data import half_of, note_licenses, read_pairs, write_dropped
from gristmill.dedup.decontaminate_config import KeptOut
from gristmill.evaluate.statistics import mean_interval, paired_difference
from gristmill.program import run_program
from gristmill.report import Report
from gristmill.schema import Resources

if TYPE_CHECKING:
    from datasets import Dataset

    from gristmill.evaluate.branches import Branches

CALIBRATION_BINS = 10


def run_reward_model(
    model: Path,
    examples: Path | None,
    out: Path,
    config: RewardModelConfig,
    resources: Resources,
    *,
    kept_out: KeptOut | None = None,
) -> Report:
    """Train a Bradley–Terry reward model from the language model in folder `model`; write a model folder to `out`.

    The report gives its accuracy on held-out pairs, beside that of a rule that looks at length alone.
    kept_out: as in `run_sft`.
    """
    from trl import RewardConfig, RewardTrainer

    from gristmill.align import adapters, trl_adapter
    from gristmill.align.rewards import load_reward_model, rewards
    from gristmill.align.rows import encode_pairs
    from gristmill.evaluate.checkpoints import prepare_process

    device = prepare_process(resources)
    pairs = read_pairs(config.data, examples, kept_out)
    quantization = adapters.quantization(config.adapter, device)
    scorer, tokenizer = load_reward_model(model, device, seed=config.seed, quantization=quantization)
    trl_adapter.check_tokenizer(tokenizer)
    limit = trl_adapter.context_length(scorer, config)
    train_pairs, train_dropped = encode_pairs(tokenizer, half_of(pairs.train, config.half), max_tokens=limit)
    held_out, held_out_dropped = encode_pairs(
        tokenizer, pairs.held_out[: config.held_out_rows], max_tokens=limit, held_out=True
    )
    dropped = pairs.dropped + train_dropped + held_out_dropped

    arguments = trl_adapter.trainer_arguments(
        RewardConfig, config, out, device, center_rewards_coefficient=config.center_rewards or None
    )
    trainer = RewardTrainer(
        scorer,
        arguments,
        train_dataset=_dataset(train_pairs),
        processing_class=tokenizer,
        peft_config=adapters.peft_config(config.adapter, "scores"),
    )
    trl_adapter.train(trainer, out, label="reward_model")
    scorer = adapters.merged(
        trainer.model,
        config.adapter,
        out,
        base=model,
        reload=lambda: load_reward_model(model, device, seed=config.seed)[0],
    )
    ids = [[*pair.prompt, *answer] for pair in held_out for answer in pair.completions]
    scores = np.array(rewards(scorer, ids)).reshape(-1, 2)
    trl_adapter.save_checkpoint(scorer, model, out, tokenizer, config.adapter)
    note_licenses(out, "reward_model", pairs.license, config.data.kind, examples)
    return Report(
        rows_in=pairs.rows,
        rows_out=len(train_pairs),
        unit="pairs",
        dropped=write_dropped(dropped, out),
        metrics=pair_metrics(scores, held_out, train_pairs, seed=config.seed),
        details={"held_out_pairs": len(held_out), **pairs.details(), **accuracy_by_fault(scores, held_out)},
    )


def _dataset(pairs: "list[Branches]") -> "Dataset":
    from datasets import Dataset

    chosen = [[*pair.prompt, *pair.completions[0]] for pair in pairs]
    rejected = [[*pair.prompt, *pair.completions[1]] for pair in pairs]
    return Dataset.from_dict(
        {"chosen_ids": chosen, "rejected_ids": rejected, "length": [pair.length for pair in pairs]}
    )


def pair_metrics(
    scores: np.ndarray, held_out: "list[Branches]", train_pairs: "list[Branches]", *, seed: int
) -> dict[str, float]:
    """scores: [pairs, 2], chosen and rejected. Equal scores count half."""
    right = _preferred(scores[:, 0] - scores[:, 1])
    by_length = _preferred(_longer(held_out) * np.sign(_longer(train_pairs).sum() or 1))
    return {
        **mean_interval(right, seed=seed).metrics("held_out_accuracy"),
        "length_baseline_accuracy": float(by_length.mean()),
        **paired_difference(right, by_length, seed=seed).metrics("held_out_accuracy_minus_length"),
        "held_out_reward_margin": float((scores[:, 0] - scores[:, 1]).mean()),
        "held_out_length_correlation": _correlation(scores[:, 0] - scores[:, 1], _more_tokens(held_out)),
        **_calibration(scores[:, 0] - scores[:, 1], right, seed=seed),
    }


def _calibration(margins: np.ndarray, right: np.ndarray, *, seed: int) -> dict[str, float]:
    """How sure the model is of the answer that it prefers, σ(|margin|), beside how often it is right; and the mean
    distance of the two over `CALIBRATION_BINS` parts of equally many pairs, from the least sure to the surest: the
    expected calibration error (Guo et al. 2017, arXiv:1706.04599). [pairs] each."""
    sure = 1 / (1 + np.exp(-np.abs(margins)))
    parts = np.array_split(np.argsort(sure, kind="stable"), min(CALIBRATION_BINS, len(sure)))
    error = sum(len(part) * abs(sure[part].mean() - right[part].mean()) for part in parts) / len(sure)
    return {
        "held_out_confidence": float(sure.mean()),
        **paired_difference(sure, right, seed=seed).metrics("held_out_overconfidence"),
        "held_out_calibration_error": float(error),
    }


def accuracy_by_fault(scores: np.ndarray, held_out: "list[Branches]") -> dict[str, Any]:
    """How often the chosen answer scores higher, by what is wrong with the other; nothing where no row says that."""
    right: dict[str, list[float]] = defaultdict(list)
    for pair, value in zip(held_out, _preferred(scores[:, 0] - scores[:, 1]).tolist(), strict=True):
        if pair.fault:
            right[pair.fault].append(value)
    found = {fault: {"accuracy": float(np.mean(each)), "n": len(each)} for fault, each in sorted(right.items())}
    return {"held_out_accuracy_by_fault": found} if found else {}


def _preferred(margins: np.ndarray) -> np.ndarray:
    return (np.sign(margins) + 1) / 2


def _longer(pairs: "list[Branches]") -> np.ndarray:
    """+1 where chosen has more tokens, −1 where it has fewer. [pairs]"""
    return np.sign(_more_tokens(pairs))


def _more_tokens(pairs: "list[Branches]") -> np.ndarray:
    """Tokens of chosen less those of rejected. [pairs]"""
    return np.array([len(pair.completions[0]) - len(pair.completions[1]) for pair in pairs])


def _correlation(margins: np.ndarray, more_tokens: np.ndarray) -> float:
    """Spearman's, near 1 where the reward is little else than length; 0 where one of both does not vary."""
    from scipy.stats import spearmanr

    if np.ptp(margins) == 0 or np.ptp(more_tokens) == 0:
        return 0.0
    found: Any = spearmanr(margins, more_tokens)
    return float(found.statistic)


if __name__ == "__main__":
    run_program(
        "gristmill.align.reward_model",
        RewardModelRun,
        lambda run, out: run_reward_model(
            run.model, run.examples, out, run.config, run.resources, kept_out=run.kept_out
        ),
    )
