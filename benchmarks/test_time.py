"""Test-time scaling on a task that can be checked: sums of two numbers below 100.

    .venv/bin/python benchmarks/test_time.py --model FOLDER --out FOLDER [--prompts 96] [--json]

The first folder: SmolLM2-135M-Instruct as the stage `open_model` writes it (docs/adapting.md). The program is the
stage's own. `samples/`: two solved sums before each, answers chosen by majority. `thinking/`: the sum as a question in
chat, thoughts of 16 and 48 tokens. About 2 CPU minutes.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from alignment import sums

from gristmill.align.online.config import NumberReward
from gristmill.align.online.prompts_config import JsonlPrompts
from gristmill.schema import Resources
from gristmill.test_time.config import TestTimeConfig, ThinkingConfig
from gristmill.test_time.run import run_test_time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="gets the curves, all answers and the plot")
    parser.add_argument("--prompts", type=int, default=96)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "sums.jsonl"
        lines = ({**row, "question": row["sum"].removesuffix(" = ")} for row in sums())
        rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
        asked: dict[str, Any] = {"held_out_prompts": arguments.prompts, "right": NumberReward(), "choose": ["majority"]}
        sums_alone = JsonlPrompts(path=rows, prompt="{sum}", reference="{result}", held_out=0.1)
        questions = JsonlPrompts(path=rows, prompt="What is {question}?", reference="{result}", held_out=0.1)
        runs = {
            "samples": TestTimeConfig(prompts=sums_alone, chat=False, few_shot=2, stop="\n", max_new_tokens=6, **asked),
            "thinking": TestTimeConfig(
                prompts=questions, max_new_tokens=12, samples=[1], thinking=ThinkingConfig(budgets=[16, 48]), **asked
            ),
        }
        found = {}
        for name, config in runs.items():
            out = arguments.out / name
            out.mkdir(parents=True, exist_ok=True)
            run_test_time(arguments.model, None, None, out, config, Resources(threads=1, device="cpu"))
            found[name] = json.loads((out / "curves.json").read_text())
            if not arguments.json:
                print(f"{name}\n\n{(out / 'summary.md').read_text()}")
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
