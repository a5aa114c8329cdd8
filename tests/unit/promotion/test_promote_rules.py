"""A rule that no model could pass is refused before anything is built."""

import gzip
from pathlib import Path

import pytest

from flows.cli import workspace
from flows.cli.plan import make_plan

HUB = "{kind: hub, name: hellaswag, task: hellaswag}"
CHAMPION = "{rule: better_than_champion, benchmark: piqa}"


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """load(benchmarks, rules): the configuration; without rules it has those it has by default."""
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path / "home"))
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "a.warc.gz").write_bytes(gzip.compress(b"WARC/1.0\r\n"))
    (tmp_path / "my.yaml").write_text(
        f"ingest: {{sources: [{{kind: warc, name: web, license: CC0-1.0, paths: ['{tmp_path}/*.gz']}}]}}\n"
    )
    for name in ("piqa", "lambada"):
        (tmp_path / f"{name}.jsonl").write_text('{"question": "Who?", "choices": ["I", "you"], "answer": 0}\n')
    monkeypatch.chdir(tmp_path)

    def loaded(benchmarks: str, *rules: str):
        for name in ("piqa", "lambada"):
            benchmarks = benchmarks.replace(name, f"{{extends: {name}, data: {{path: {name}.jsonl}}}}")
        given = [f"promote.rules=[{', '.join(rules)}]"] if rules else []
        return workspace.load_config(str(tmp_path / "my.yaml"), [f"evaluate.benchmarks=[{benchmarks}]", *given])

    return loaded


@pytest.mark.parametrize(
    ("benchmarks", "rules", "said"),
    [
        ("piqa", [], "'docs_choice', but evaluate.benchmarks asks piqa"),
        ("", [], "'docs_choice', but evaluate.benchmarks asks none"),
        ("lambada", [CHAMPION], "'piqa', but evaluate.benchmarks asks lambada"),
        ("lambada", ["{rule: better_than_baseline, benchmark: lambada}"], "has no choices"),
        (HUB, ["{rule: not_worse_than_champion, benchmark: hellaswag}"], "items of the hub"),
    ],
)
def test_a_rule_that_no_model_could_pass_is_refused_before_anything_is_built(
    load, benchmarks: str, rules: list[str], said: str
):
    config = load(benchmarks, *rules)
    with pytest.raises(ValueError, match=r"promote\.rules: ") as error:
        make_plan("pipeline", config)
    assert said in str(error.value)
    assert make_plan("pretrain", config), "where nothing is promoted, the rules do not matter"


@pytest.mark.parametrize(
    ("benchmarks", "rules"),
    [
        ("{name: docs_choice}, piqa", []),
        ("piqa", [CHAMPION, "{rule: better_than_baseline, benchmark: piqa}"]),
        ("lambada", ["{rule: not_worse_than_champion, benchmark: lambada}"]),
        (HUB, ["{rule: at_least, metric: hellaswag_accuracy, value: 0.3}"]),
    ],
)
def test_rules_about_what_is_asked_are_taken(load, benchmarks: str, rules: list[str]):
    assert make_plan("pipeline", load(benchmarks, *rules))[-1].label == "promote"
