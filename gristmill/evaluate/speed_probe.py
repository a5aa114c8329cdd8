"""Time one format of a model, in a process that does nothing else: `python -m gristmill.evaluate.speed_probe JSON`.

Prints `first_token_ms` and `tokens_per_s` (medians) and `peak_megabytes`, the most memory the process held, interpreter
and libraries included (on a GPU: what torch held there).
"""

import json
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    asked = json.loads(sys.argv[1])
    in_llama = asked["kind"] in ("gguf", "int8")
    answer, peak = (_llama if in_llama else _transformers)(asked)
    answer(asked["new_tokens"])  # the first run fills caches
    runs = [answer(asked["new_tokens"]) for _ in range(asked["repeats"])]
    found = {
        "first_token_ms": statistics.median(first for first, _ in runs) * 1e3,
        "tokens_per_s": statistics.median((asked["new_tokens"] - 1) / rest for _, rest in runs),
        "peak_megabytes": peak(),
    }
    print(json.dumps(found))


Answer = Callable[[int], tuple[float, float]]
"""Length of an answer → seconds to its first token, and to all others."""


def _transformers(asked: dict[str, Any]) -> tuple[Answer, Callable[[], float]]:
    import torch
    from transformers import AutoModelForCausalLM

    from gristmill.evaluate.checkpoints import prepare_process
    from gristmill.evaluate.generation import decode
    from gristmill.schema import Resources

    device = prepare_process(Resources(threads=asked["threads"], device=asked["device"]))
    dtype = torch.float32 if asked["kind"] == "fp32" else torch.bfloat16
    model: Any = AutoModelForCausalLM.from_pretrained(asked["path"], dtype=dtype, local_files_only=True)
    model.to(device)
    prompt = _prompt(asked, model.config.get_text_config().vocab_size)

    def answer(new_tokens: int) -> tuple[float, float]:
        began = time.perf_counter()
        tokens = decode(model, [prompt], max_new_tokens=new_tokens, stop_ids=())
        next(tokens)
        first = time.perf_counter()
        for _ in tokens:
            pass
        return first - began, time.perf_counter() - first

    if device.type == "cuda":
        return answer, lambda: torch.cuda.max_memory_allocated(device) / 1e6
    return answer, resident_megabytes


def _llama(asked: dict[str, Any]) -> tuple[Answer, Callable[[], float]]:
    from gristmill.export.llama import LlamaCppModel

    length = asked["prompt_tokens"] + asked["new_tokens"]
    model = LlamaCppModel(Path(asked["path"]), context=length, threads=asked["threads"])
    prompt = _prompt(asked, model.vocab_size)

    def answer(new_tokens: int) -> tuple[float, float]:
        began = time.perf_counter()
        tokens = model.steps(prompt, max_new_tokens=new_tokens)
        next(tokens)
        first = time.perf_counter()
        for _ in tokens:
            pass
        return first - began, time.perf_counter() - first

    return answer, resident_megabytes


def _prompt(asked: dict[str, Any], vocab_size: int) -> list[int]:
    drawn = random.Random(0)
    return [drawn.randrange(min(100, vocab_size // 2), vocab_size) for _ in range(asked["prompt_tokens"])]


def resident_megabytes() -> float:
    """The most memory this process held. On Linux its own: `ru_maxrss` begins at what the process held that started it,
    which exec hands down."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    main()
