"""Tasks of lm-evaluation-harness: made of our definitions on local items, or lm-eval's own, by name."""

import logging
from typing import Any

from lm_eval.api.task import ConfigurableTask, Task
from lm_eval.tasks import TaskManager

from gristmill.evaluate.answer_scores import SCORES
from gristmill.evaluate.harness_config import HarnessBenchmark, HubBenchmark


class _Rows(list[dict[str, Any]]):
    """Items as they stand in their file: an Arrow table would give each all the others' fields."""

    @property
    def features(self) -> dict[str, None]:
        return dict.fromkeys(name for row in self for name in row)


def local_task(benchmark: HarnessBenchmark, rows: list[dict[str, Any]]) -> ConfigurableTask:
    """The definition as lm-eval understands it. Examples are drawn from the same rows, never the item itself."""
    config: dict[str, Any] = {
        "task": benchmark.name,
        "custom_dataset": lambda **_: {"test": _Rows(rows)},
        "test_split": "test",
        "fewshot_config": {"split": "test"},
        "num_fewshot": benchmark.num_fewshot,
        "output_type": benchmark.output_type,
        "doc_to_text": benchmark.doc_to_text,
        "doc_to_choice": benchmark.doc_to_choice,
        "doc_to_target": benchmark.doc_to_target,
        "target_delimiter": benchmark.target_delimiter,
        "fewshot_delimiter": benchmark.fewshot_delimiter,
        # perplexity is taken from the log-likelihoods: lm-eval's overflows where a model is very wrong
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True}
            for metric in benchmark.metrics
            if metric != "perplexity"
        ],
        "metadata": {"version": benchmark.version},
    }
    if benchmark.output_type == "generate_until":
        drawn = {"do_sample": True, "temperature": benchmark.temperature} if benchmark.temperature else {}
        config["generation_kwargs"] = {
            "until": benchmark.until,
            "max_gen_toks": benchmark.max_gen_toks,
            **(drawn or {"do_sample": False}),
        }
        last_match = {"function": "regex", "group_select": -1, "fallback": ""}
        last_match |= {"regex_pattern": benchmark.answer_pattern}
        config["filter_list"] = [{"name": "answer", "filter": [last_match, {"function": "take_first"}]}]
        config["process_results"] = lambda item, answers: {
            metric: SCORES[metric](item, task.doc_to_text(item), str(task.doc_to_target(item)), answers[0])
            for metric in benchmark.metrics
        }
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # says that a dataset of one's own was given
    task: Any = ConfigurableTask(config=config)
    task.set_fewshot_seed(benchmark.fewshot_seed)
    return task


def hub_task(benchmark: HubBenchmark) -> Task:
    """lm-eval's own task. Raises ValueError where there is none of that name, or its items cannot be downloaded."""
    manager = TaskManager()
    if benchmark.task not in manager.all_subtasks:
        raise ValueError(
            f"{benchmark.name}: lm-eval has no single task {benchmark.task!r}; `lm_eval ls subtasks` lists those it has"
        )
    try:
        task: Task = manager.load([benchmark.task])["tasks"][benchmark.task]
    except (OSError, ConnectionError, ValueError) as error:
        said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ValueError(
            f"{benchmark.name}: the items of lm-eval's task {benchmark.task!r} could not be had from the hub ({said}); "
            "with a network, start gristmill with HF_HUB_OFFLINE=0; without one, use a definition on a local file"
        ) from error
    measured = sorted(task.aggregation() or {})
    if task.OUTPUT_TYPE == "loglikelihood_rolling" or benchmark.metric not in measured:
        raise ValueError(
            f"{benchmark.name}: metric={benchmark.metric} does not say which items of lm-eval's task "
            f"{benchmark.task!r} were answered rightly; it measures {', '.join(measured)}; name another metric or task"
        )
    if benchmark.num_fewshot is not None or task.get_config("num_fewshot") is None:
        task.set_config("num_fewshot", benchmark.num_fewshot or 0)
    task.set_fewshot_seed(benchmark.fewshot_seed)
    return task
