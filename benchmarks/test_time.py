"""Test-time scaling on a task that can be checked: sums of two numbers below 100, two solved ones before each.

    .venv/bin/python benchmarks/test_time.py --model FOLDER --out FOLDER [--prompts 96] [--json]

The first folder: SmolLM2-135M-Instruct as the stage `open_model` writes it (docs/adapting.md). The program is the
stage's own. Answers are chosen by majority; budgets of thought are 8 and 24 tokens. About 3 CPU minutes.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

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
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "sums.jsonl"
        rows.write_text("".join(json.dumps(row) + "\n" for row in sums()))
        config = TestTimeConfig(
            prompts=JsonlPrompts(path=rows, prompt="{sum}", reference="{result}"),
            chat=False,
            few_shot=2,
            stop="\n",
            max_new_tokens=6,
            held_out_prompts=arguments.prompts,
            right=NumberReward(),
            choose=["majority"],
            thinking=ThinkingConfig(budgets=[8, 24], answer_after="\n#"),
        )
        run_test_time(arguments.model, None, None, arguments.out, config, Resources(threads=1, device="cpu"))
    print((arguments.out / ("curves.json" if arguments.json else "summary.md")).read_text())


if __name__ == "__main__":
    main()
