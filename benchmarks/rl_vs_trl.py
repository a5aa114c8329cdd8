"""GRPO samples per CPU-second: gristmill against TRL, same model, prompts, group size, lengths, precision and rewards.

    .venv/bin/python benchmarks/rl_vs_trl.py --model FOLDER --json

FOLDER: SmolLM2-135M-Instruct as a Hugging Face folder (docs/adapting.md says how to get it without a hub). One thread,
float32, no KL term in either. Each side does `--steps` optimizer steps after one that is not counted; a sample is one
answer, sampled and learned from. Both pay for answers by one cheap rule and sample until `--tokens` tokens, so that the
work does not depend on what the model says.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import regex
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, TrainerCallback

from gristmill.align.online.config import GrpoConfig, PatternReward
from gristmill.align.online.learner import Learner
from gristmill.align.online.prompts import Prompt
from gristmill.align.online.rewards import Rewards
from gristmill.align.online.rollout import Endings, sample

PATTERN = r"(?s)\d.*[02468]\s*"
TEMPERATURE = 1.0
LR = 1e-6


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(1)
    prompts = few_shot_prompts(arguments.prompts * (arguments.steps + 1), shots=arguments.shots)
    found: dict[str, Any] = {
        "prompts_per_step": arguments.prompts,
        "group_size": arguments.group,
        "shots": arguments.shots,
        "tokens": arguments.tokens,
        "steps": arguments.steps,
    }
    found["samples_per_cpu_s"] = {"gristmill": ours(arguments, prompts), "trl": trls(arguments, prompts)}
    found["ratio_trl"] = found["samples_per_cpu_s"]["gristmill"] / found["samples_per_cpu_s"]["trl"]
    if arguments.json:
        print(json.dumps(found))
    else:
        for name, rate in found["samples_per_cpu_s"].items():
            print(f"{name:10} {rate:.2f} samples per CPU-second")
        print(f"ratio      {found['ratio_trl']:.2f}")


def few_shot_prompts(count: int, *, shots: int) -> list[str]:
    """Sums of two numbers below 100, each behind `shots` solved ones."""
    solved = "".join(f"{11 * n + 7}+{13 * n + 5}={24 * n + 12}\n" for n in range(1, shots + 1))
    return [f"{solved}{(37 * n) % 90 + 10}+{(53 * n) % 90 + 10}=" for n in range(count)]


def ours(arguments: argparse.Namespace, texts: list[str]) -> float:
    config = GrpoConfig(
        rewards=[PatternReward(pattern=PATTERN)],
        prompts_per_step=arguments.prompts,
        group_size=arguments.group,
        max_new_tokens=arguments.tokens,
        temperature=TEMPERATURE,
        lr=LR,
        chat=False,
    )
    policy, tokenizer = _loaded(arguments.model)
    prompts = [Prompt(str(n), text, ids=tuple(tokenizer(text)["input_ids"])) for n, text in enumerate(texts)]
    rewarded = Rewards(config.rewards, max_new_tokens=arguments.tokens, seed=0)
    learner = Learner(policy, policy, config)  # kl_coef 0: the reference is not asked
    started = 0.0
    for step in range(arguments.steps + 1):
        if step == 1:
            started = time.process_time()
        answers = sample(
            policy,
            tokenizer,
            prompts[step * arguments.prompts : (step + 1) * arguments.prompts],
            group_size=arguments.group,
            max_new_tokens=arguments.tokens,
            temperature=TEMPERATURE,
            endings=Endings(frozenset(), None),
            seed=step,
        )
        learner.learn(answers, torch.from_numpy(rewarded(answers)[0]), lr_share=1.0, measure_kl=False)
    return arguments.steps * arguments.prompts * arguments.group / (time.process_time() - started)


def trls(arguments: argparse.Namespace, texts: list[str]) -> float:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    policy, tokenizer = _loaded(arguments.model)

    def reward(completions: list[str], **_: Any) -> list[float]:
        return [float(regex.fullmatch(PATTERN, text.strip()) is not None) for text in completions]

    class Clock(TrainerCallback):
        started = ended = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 1:
                self.started = time.process_time()
            self.ended = time.process_time()

    clock = Clock()
    with tempfile.TemporaryDirectory() as out:
        config = GRPOConfig(
            output_dir=out,
            per_device_train_batch_size=arguments.prompts * arguments.group,
            num_generations=arguments.group,
            max_completion_length=arguments.tokens,
            max_steps=arguments.steps + 1,
            learning_rate=LR,
            temperature=TEMPERATURE,
            beta=0.0,
            loss_type="grpo",
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            shuffle_dataset=False,
            # no token ends an answer on either side
            generation_kwargs={"min_new_tokens": arguments.tokens},
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        trainer = GRPOTrainer(
            policy,
            reward_funcs=reward,  # pyright: ignore[reportArgumentType]
            args=config,
            train_dataset=Dataset.from_dict({"prompt": texts}),
            processing_class=tokenizer,
            callbacks=[clock],
        )
        trainer.train()
    return arguments.steps * arguments.prompts * arguments.group / (clock.ended - clock.started)


def _loaded(folder: Path) -> tuple[PreTrainedModel, Any]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--prompts", type=int, default=8, help="prompts of a step")
    parser.add_argument("--group", type=int, default=8, help="answers to a prompt")
    parser.add_argument("--shots", type=int, default=8, help="solved sums before each")
    parser.add_argument("--tokens", type=int, default=16, help="tokens of an answer")
    parser.add_argument("--steps", type=int, default=3, help="optimizer steps that are timed")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    main()
