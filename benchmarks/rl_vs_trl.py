"""GRPO samples per CPU-second: gristmill against TRL, same model, prompts, group size, lengths, precision and rewards.

    .venv/bin/python benchmarks/rl_vs_trl.py --model FOLDER --json

FOLDER: SmolLM2-135M-Instruct as a Hugging Face folder (docs/adapting.md says how to get it without a hub). One process,
one thread, float32, no KL term in either, one optimizer step a round. The sides take turns, round by round, on the same
prompts; the first round of each is not counted. A sample is one answer, sampled and learned from. Both pay noise and
sample until `--tokens` tokens, so that the work does not depend on what the model says, and no group is left out for
equal rewards.

`samples_per_cpu_s`: medians over rounds. `ratio_trl`: the median of the rounds' ratios, with the smallest and largest.
`seconds`: CPU-seconds of a round's median, apart for sampling with rewards and for learning.

`--device cuda`: both on the GPU, seconds are the wall's with the GPU's work finished, and the keys still say `cpu`.

TRL has what its documentation offers for transformers on a CPU: its own batched generation with a cache, no reference
model, no gradient checkpointing, no vLLM. `--trl-rows`: answers of its forward passes in learning.
"""

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from gristmill.align.online.config import GrpoConfig, RandomReward
from gristmill.align.online.learner import Learner
from gristmill.align.online.prompts import Prompt
from gristmill.align.online.rewards import Rewards
from gristmill.align.online.rollout import Endings, sample

TEMPERATURE = 1.0
LR = 1e-6


@dataclass(frozen=True)
class Seconds:
    """CPU-seconds of one round."""

    sampling: float
    learning: float

    @property
    def round(self) -> float:
        return self.sampling + self.learning


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(1)
    prompts = few_shot_prompts(arguments.prompts * (arguments.rounds + 1), shots=arguments.shots)
    our_round = ours(arguments, prompts)
    our_rounds: list[Seconds] = []
    their_rounds = trls(arguments, prompts, between=lambda: our_rounds.append(our_round()))
    found = _found(arguments, our_rounds[1:], their_rounds[1:])
    if arguments.json:
        print(json.dumps(found))
        return
    for name, rate in found["samples_per_cpu_s"].items():
        sampling, learning = found["seconds"][name].values()
        print(f"{name:10} {rate:.2f} samples per CPU-second; a round samples {sampling:.2f} s, learns {learning:.2f} s")
    low, high = found["ratio_trl_range"]
    print(f"ratio      {found['ratio_trl']:.2f} ({low:.2f} to {high:.2f} in {found['rounds']} rounds)")


def few_shot_prompts(count: int, *, shots: int) -> list[str]:
    """Sums of two numbers below 100, each behind `shots` solved ones."""
    solved = "".join(f"{11 * n + 7}+{13 * n + 5}={24 * n + 12}\n" for n in range(1, shots + 1))
    return [f"{solved}{(37 * n) % 90 + 10}+{(53 * n) % 90 + 10}=" for n in range(count)]


def ours(arguments: argparse.Namespace, texts: list[str]) -> Callable[[], Seconds]:
    """A function that makes the next round."""
    config = GrpoConfig(
        rewards=[RandomReward()],
        prompts_per_step=arguments.prompts,
        group_size=arguments.group,
        max_new_tokens=arguments.tokens,
        temperature=TEMPERATURE,
        lr=LR,
        chat=False,
    )
    policy, tokenizer = _loaded(arguments.model, arguments.device)
    prompts = [Prompt(str(n), text, ids=tuple(tokenizer(text)["input_ids"])) for n, text in enumerate(texts)]
    rewarded = Rewards(config.rewards, max_new_tokens=arguments.tokens, seed=0)
    learner = Learner(policy, policy, config)  # kl_coef 0: the reference is not asked
    rounds = iter(range(arguments.rounds + 1))

    def one_round() -> Seconds:
        number = next(rounds)
        started = _seconds()
        answers = sample(
            policy,
            tokenizer,
            prompts[number * arguments.prompts : (number + 1) * arguments.prompts],
            group_size=arguments.group,
            max_new_tokens=arguments.tokens,
            temperature=TEMPERATURE,
            endings=Endings(frozenset(), None),
            seed=number,
        )
        rewards = torch.from_numpy(rewarded(answers)[0]).to(policy.device)
        sampled = _seconds()
        learner.learn(answers, rewards, lr_share=1.0, measure_kl=False)
        return Seconds(sampled - started, _seconds() - sampled)

    return one_round


def trls(arguments: argparse.Namespace, texts: list[str], *, between: Callable[[], None]) -> list[Seconds]:
    """Seconds of TRL's rounds; `between` is called after each, and is not counted."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    policy, tokenizer = _loaded(arguments.model, arguments.device)
    rounds: list[Seconds] = []
    noise = random.Random(0)

    def reward(completions: list[str], **_: Any) -> list[float]:
        return [noise.random() for _ in completions]

    class Timed(GRPOTrainer):
        sampling = 0.0

        def _generate_and_score_completions(self, inputs: Any) -> Any:
            started = _seconds()
            found = super()._generate_and_score_completions(inputs)
            self.sampling += _seconds() - started
            return found

    class Clock(TrainerCallback):
        started = 0.0

        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            trainer.sampling = 0.0
            self.started = _seconds()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            whole = _seconds() - self.started
            rounds.append(Seconds(trainer.sampling, whole - trainer.sampling))
            between()

    answers = arguments.prompts * arguments.group
    with tempfile.TemporaryDirectory() as out:
        config = GRPOConfig(
            output_dir=out,
            per_device_train_batch_size=arguments.trl_rows or answers,
            gradient_accumulation_steps=answers // (arguments.trl_rows or answers),
            num_generations=arguments.group,
            max_completion_length=arguments.tokens,
            max_steps=arguments.rounds + 1,
            learning_rate=LR,
            temperature=TEMPERATURE,
            beta=0.0,
            loss_type="grpo",
            bf16=False,
            use_cpu=arguments.device == "cpu",
            gradient_checkpointing=False,
            shuffle_dataset=False,
            # no token ends an answer on either side
            generation_kwargs={"min_new_tokens": arguments.tokens},
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        trainer = Timed(
            policy,
            reward_funcs=reward,  # pyright: ignore[reportArgumentType]
            args=config,
            train_dataset=Dataset.from_dict({"prompt": texts}),
            processing_class=tokenizer,
            callbacks=[Clock()],
        )
        trainer.train()
    return rounds


def _found(arguments: argparse.Namespace, our_rounds: list[Seconds], their_rounds: list[Seconds]) -> dict[str, Any]:
    sides = {"gristmill": our_rounds, "trl": their_rounds}
    answers = arguments.prompts * arguments.group
    ratios = [theirs.round / our.round for our, theirs in zip(our_rounds, their_rounds, strict=True)]
    return {
        "prompts_per_round": arguments.prompts,
        "group_size": arguments.group,
        "shots": arguments.shots,
        "tokens": arguments.tokens,
        "rounds": arguments.rounds,
        "samples_per_cpu_s": {name: answers / median(one.round for one in rounds) for name, rounds in sides.items()},
        "seconds": {
            name: {part: median(asdict(one)[part] for one in rounds) for part in ("sampling", "learning")}
            for name, rounds in sides.items()
        },
        "ratio_trl": median(ratios),
        "ratio_trl_range": [min(ratios), max(ratios)],
    }


def _seconds() -> float:
    """Of this process's CPU; once the GPU is in use, the wall's."""
    if not torch.cuda.is_initialized():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def _loaded(folder: Path, device: str) -> tuple[Any, Any]:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return model.to(device), AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--prompts", type=int, default=4, help="prompts of a round")
    parser.add_argument("--group", type=int, default=8, help="answers to a prompt")
    parser.add_argument("--shots", type=int, default=8, help="solved sums before each")
    parser.add_argument("--tokens", type=int, default=16, help="tokens of an answer")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that are timed")
    parser.add_argument("--trl-rows", type=int, help="answers of TRL's forward passes in learning; all, if not given")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    main()
