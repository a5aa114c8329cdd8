"""How fast answers are written: tokens per CPU-second of transformers' `generate` and of gristmill, greedy, one thread.

For each batch size: prompts of 64 random tokens, 32 new tokens, `prompt` and `new` tokens per CPU-second. `rollout` is
what reinforcement learning does: 4 prompts × 8 samples each, temperature 1; new tokens per CPU-second with reading.
transformers reads a prompt as often as it has samples, gristmill once. Each number is the best of `--repeats`.

    python benchmarks/decode_speed.py --model FOLDER [--batch 1 8 32] [--dtype float32] [--repeats 3] [--json]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from gristmill.evaluate.generation import answers, decode
from gristmill.evaluate.sampling_config import Sampling

PROMPT_TOKENS, NEW_TOKENS, PROMPTS, SAMPLES = 64, 32, 4, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=getattr(torch, arguments.dtype))
    found: dict[str, Any] = {}
    for size in arguments.batch:
        prompts = random_prompts(size, model.config.vocab_size)
        for name, write in (("transformers", of_transformers), ("gristmill", of_gristmill)):
            first = best(arguments.repeats, lambda write=write, prompts=prompts: write(model, prompts, 1))
            whole = best(arguments.repeats, lambda write=write, prompts=prompts: write(model, prompts, NEW_TOKENS))
            speeds = {"prompt": size * PROMPT_TOKENS / first, "new": size * (NEW_TOKENS - 1) / (whole - first)}
            found.setdefault(f"batch_{size}", {})[name] = speeds
            show(f"batch_{size}", name, speeds)
    group = [prompt for prompt in random_prompts(PROMPTS, model.config.vocab_size) for _ in range(SAMPLES)]
    for name, write in (("transformers", sample_of_transformers), ("gristmill", sample_of_gristmill)):
        speeds = {"new": len(group) * NEW_TOKENS / best(arguments.repeats, lambda write=write: write(model, group))}
        found.setdefault("rollout", {})[name] = speeds
        show("rollout", name, speeds)
    if arguments.json:
        print(json.dumps(found, indent=2))


def show(case: str, name: str, speeds: dict[str, float]) -> None:
    numbers = ", ".join(f"{kind} {speed:,.1f}/s" for kind, speed in speeds.items())
    print(f"{case:<9} {name:<13} {numbers}", file=sys.stderr, flush=True)


def random_prompts(number: int, vocab_size: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(100, vocab_size, (number, PROMPT_TOKENS), generator=generator).tolist()


def best(repeats: int, run: Callable[[], None]) -> float:
    """CPU-seconds of the fastest run."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return min(seconds)


def of_transformers(model: Any, prompts: list[list[int]], new_tokens: int) -> None:
    ids = torch.tensor(prompts)
    fixed = {"min_new_tokens": new_tokens, "max_new_tokens": new_tokens, "pad_token_id": 0}
    model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, **fixed)


def of_gristmill(model: Any, prompts: list[list[int]], new_tokens: int) -> None:
    for _ in decode(model, prompts, max_new_tokens=new_tokens, stop_ids=()):
        pass


def sample_of_transformers(model: Any, prompts: list[list[int]]) -> None:
    ids = torch.tensor(prompts)
    fixed = {"min_new_tokens": NEW_TOKENS, "max_new_tokens": NEW_TOKENS, "pad_token_id": 0}
    model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=1.0, top_k=0, **fixed)


def sample_of_gristmill(model: Any, prompts: list[list[int]]) -> None:
    seeds = range(len(prompts))
    answers(model, prompts, max_new_tokens=NEW_TOKENS, stop_ids=(), sampling=Sampling(temperature=1.0), seeds=seeds)


if __name__ == "__main__":
    main()
