"""Test-time scaling: `python -m gristmill.test_time.run --config run.yaml --out DIR`.

Writes curves.json (accuracy by number of answers and by budget of thought, with intervals), answers.parquet (every
answer), summary.md and the plot as SVG and PNG.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.align.online.config import NumberReward
from gristmill.evaluate.statistics import mean_interval, paired_difference
from gristmill.program import run_program
from gristmill.progress import progress
from gristmill.report import Report
from gristmill.schema import Resources
from gristmill.test_time.choices import any_right, best_scored, majority_right
from gristmill.test_time.config import TestTimeConfig, TestTimeRun, ThinkingConfig
from gristmill.test_time.plot import draw

if TYPE_CHECKING:
    from gristmill.align.online.prompts import Prompt
    from gristmill.align.online.rewards import Rewards
    from gristmill.align.online.rollout import Answer

ROWS_PER_BATCH = 64

Ask = Callable[..., "list[Answer]"]


@dataclass(frozen=True)
class Point:
    """One point of a curve: the share of prompts whose chosen answer is right, with its 95 % interval over prompts.

    method: `any`, `majority`, `reward_model` or `thinking`. spent: answers to choose from, or most tokens of a thought.
    tokens: generated for a prompt, on average. gain: over one answer, or over no thought, paired by prompt.
    """

    method: str
    spent: int
    tokens: float
    accuracy: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float


def run_test_time(
    model: Path,
    examples: Path | None,
    reward_model: Path | None,
    out: Path,
    config: TestTimeConfig,
    resources: Resources,
) -> Report:
    """Sample answers to the held-out prompts, choose among them, and say how often the choice is right.

    Raises ValueError for prompts without references, and where the choice needs a reward model that is not there.
    """
    from gristmill.align import trl_adapter
    from gristmill.align.data import write_dropped
    from gristmill.align.online.prompts import read_prompts
    from gristmill.align.online.rewards import Rewards, reward_model_scorer
    from gristmill.align.online.rollout import Endings, sample
    from gristmill.evaluate.chat_format import end_of_turn
    from gristmill.evaluate.checkpoints import load_model, prepare_process
    from gristmill.evaluate.generation import stop_ids

    device = prepare_process(resources)
    policy, tokenizer = load_model(model, device)
    if config.chat:
        trl_adapter.check_tokenizer(tokenizer)
    scorer = None
    if "reward_model" in config.choose:
        if reward_model is None:
            raise ValueError("choose names reward_model but no reward model was given; leave it out, or give one")
        scorer = reward_model_scorer(reward_model, tokenizer, device)
    room = policy.config.get_text_config().max_position_embeddings - config.max_new_tokens
    if config.thinking:
        behind = len(tokenizer(config.thinking.answer_after, add_special_tokens=False)["input_ids"])
        room -= max(config.thinking.budgets) + behind
    _, prompts, dropped = read_prompts(config, examples, tokenizer, room=room)
    _check_references(prompts, config)
    own_ends = [*stop_ids(policy), *(end_of_turn(tokenizer) if config.chat else [])]
    ends = frozenset(own_ends)

    def ask(
        asked: "Sequence[Prompt]", *, copies: int, temperature: float, max_new_tokens: int, stop: str | None
    ) -> "list[Answer]":
        answers: list[Answer] = []
        each = max(1, ROWS_PER_BATCH // copies)
        with progress("test_time", total=len(asked), unit="prompts") as bar:
            for first in range(0, len(asked), each):
                answers += sample(
                    policy,
                    tokenizer,
                    asked[first : first + each],
                    group_size=copies,
                    max_new_tokens=max_new_tokens,
                    temperature=temperature,
                    endings=Endings(ends, stop),
                    seed=int(np.random.SeedSequence([config.seed, first]).generate_state(1)[0]),
                )
                bar.advance(len(asked[first : first + each]))
        return answers

    is_right = Rewards([config.right.model_copy(update={"weight": 1.0})], max_new_tokens=config.max_new_tokens, seed=0)
    n = config.samples[-1]
    answers = ask(
        prompts, copies=n, temperature=config.temperature, max_new_tokens=config.max_new_tokens, stop=config.stop
    )
    right = is_right(answers)[0] >= 1
    scores = np.array(scorer([[*a.prompt.ids, *a.ids] for a in answers]) if scorer else [np.nan] * len(answers))
    said = [_said(answer, config) for answer in answers]
    points = _by_samples(right, scores, said, answers, config)
    if config.thinking:
        points += _by_thought(ask, prompts, is_right, tokenizer, ends, config.thinking, config)
    _write_answers(out, answers, right, scores, said)
    (out / "curves.json").write_text(json.dumps([asdict(point) for point in points], indent=2) + "\n")
    (out / "summary.md").write_text(_summary(points, len(prompts)), encoding="utf-8")
    draw(points, out)
    return Report(
        rows_in=len(prompts) + len(dropped),
        rows_out=len(answers),
        unit="answers",
        dropped=write_dropped(dropped, out),
        metrics=_metrics(points),
        details={"prompts": len(prompts), "answers_each": n, "temperature": config.temperature},
    )


def _check_references(prompts: "list[Prompt]", config: TestTimeConfig) -> None:
    from gristmill.align.online.rewards import final_number

    if isinstance(config.right, NumberReward) and not any(final_number(prompt.reference or "") for prompt in prompts):
        raise ValueError(
            "test_time.right is of kind number, and no reference of a held-out prompt has one, so no answer could be "
            "right; name prompts with numbers for references (test_time.prompts), or another kind of `right`"
        )


def _said(answer: "Answer", config: TestTimeConfig) -> str | None:
    """What an answer comes to, so that answers can be counted."""
    from gristmill.align.online.rewards import final_number

    return final_number(answer.text) if isinstance(config.right, NumberReward) else answer.text.strip() or None


def _by_samples(
    right: np.ndarray, scores: np.ndarray, said: list[str | None], answers: "list[Answer]", config: TestTimeConfig
) -> list[Point]:
    n = config.samples[-1]
    right_Pn, score_Pn = right.reshape(-1, n), scores.reshape(-1, n)
    said_Pn = [said[first : first + n] for first in range(0, len(said), n)]
    tokens = float(np.mean([len(answer.ids) for answer in answers]))
    accuracy: dict[str, Callable[[int], np.ndarray]] = {
        "any": lambda k: any_right(right_Pn, k),
        "majority": lambda k: majority_right(right_Pn, said_Pn, k, seed=config.seed),
        "reward_model": lambda k: best_scored(right_Pn, score_Pn, k),
    }
    one = right_Pn.mean(axis=1)
    return [
        _point(method, k, k * tokens, accuracy[method](k), one, seed=config.seed)
        for method in ("any", *config.choose)
        for k in config.samples
    ]


def _by_thought(
    ask: Ask,
    prompts: "list[Prompt]",
    is_right: "Rewards",
    tokenizer: Any,
    ends: frozenset[int],
    thinking: ThinkingConfig,
    config: TestTimeConfig,
) -> list[Point]:
    """Greedy answers behind thoughts of each budget, and behind none."""
    from dataclasses import replace

    behind = tokenizer(thinking.answer_after, add_special_tokens=False)["input_ids"]
    points: list[Point] = []
    unthought = np.zeros(0)
    for budget in (0, *sorted(set(thinking.budgets))):
        thoughts: list[tuple[int, ...]] = [()] * len(prompts)
        if budget:
            # a line break ends no thought, though it may end an answer
            thoughts = [
                tuple(token for token in thought.ids if token not in ends)
                for thought in ask(prompts, copies=1, temperature=0.0, max_new_tokens=budget, stop=None)
            ]
        asked = [
            replace(prompt, ids=(*prompt.ids, *thought, *behind))
            for prompt, thought in zip(prompts, thoughts, strict=True)
        ]
        answers = ask(asked, copies=1, temperature=0.0, max_new_tokens=config.max_new_tokens, stop=config.stop)
        right = (is_right(answers)[0] >= 1).astype(float)
        unthought = right if not budget else unthought
        tokens = np.mean([len(thought) + len(answer.ids) for thought, answer in zip(thoughts, answers, strict=True)])
        points.append(_point("thinking", budget, float(tokens), right, unthought, seed=config.seed))
    return points


def _point(method: str, spent: int, tokens: float, accuracy: np.ndarray, base: np.ndarray, *, seed: int) -> Point:
    found, gain = mean_interval(accuracy, seed=seed), paired_difference(accuracy, base, seed=seed)
    return Point(method, spent, tokens, found.mean, found.low, found.high, gain.mean, gain.low, gain.high)


def _metrics(points: list[Point]) -> dict[str, float]:
    """The end of every curve: what the most that was spent gives."""
    found = {"accuracy_one": next(point.accuracy for point in points if point.spent == 1)}
    for point in {point.method: point for point in points}.values():
        name = f"accuracy_{point.method}"
        found |= {name: point.accuracy, f"{name}_ci_low": point.low, f"{name}_ci_high": point.high}
        found |= {f"gain_{point.method}": point.gain}
        found |= {f"gain_{point.method}_ci_low": point.gain_low, f"gain_{point.method}_ci_high": point.gain_high}
    return found


def _summary(points: list[Point], prompts: int) -> str:
    lines = [
        f"{prompts} held-out prompts; 95 % intervals over prompts; the gain is over one answer, or over no thought.",
        "",
        "| choice | answers, or tokens of thought | tokens a prompt | right | gain |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {point.method} | {point.spent} | {point.tokens:.1f} | {point.accuracy:.3f} [{point.low:.3f}, "
        f"{point.high:.3f}] | {point.gain:+.3f} [{point.gain_low:+.3f}, {point.gain_high:+.3f}] |"
        for point in points
    ]
    return "\n".join(lines) + "\n"


def _write_answers(
    out: Path, answers: "list[Answer]", right: np.ndarray, scores: np.ndarray, said: list[str | None]
) -> None:
    rows = [
        {
            "prompt_id": answer.prompt.row_id,
            "prompt": answer.prompt.text,
            "reference": answer.prompt.reference,
            "answer": answer.text,
            "said": said[number],
            "tokens": len(answer.ids),
            "finished": answer.finished,
            "right": bool(right[number]),
            "score": None if np.isnan(scores[number]) else float(scores[number]),
        }
        for number, answer in enumerate(answers)
    ]
    pq.write_table(pa.Table.from_pylist(rows), out / "answers.parquet")


if __name__ == "__main__":
    run_program(
        "gristmill.test_time.run",
        TestTimeRun,
        lambda run, out: run_test_time(run.model, run.examples, run.reward_model, out, run.config, run.resources),
    )
