"""The shipped configurations, and what changes a key: twenty edits that change nothing, and some that do."""

import gzip
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_run import SmallRun

from flows.cli import workspace
from flows.cli.plan import make_plan
from flows.cli.run import refusal
from gristmill import reference
from gristmill.config import PipelineConfig
from gristmill.yaml import ConfigError
from tasks.stage import Stage

CONFIGS = Path(__file__).parents[2] / "pipeline_configs"


def test_the_reference_is_what_the_schema_says():
    assert (CONFIGS / "base.yaml").read_text() == reference.base_yaml()
    assert (CONFIGS / "schema.json").read_text() == reference.json_schema()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_is_valid(path: Path):
    if path.stem in ("base", "deployments"):
        with pytest.raises(ConfigError, match="ingest is missing"):
            workspace.load_config(str(path), [])
    else:
        assert workspace.load_config(str(path), []).ingest.sources


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_configuration_that_was_written_down_is_the_same_one(path: Path):
    """The book of nights keeps settings; a default that is written out must be the default."""
    if path.stem not in ("base", "deployments"):
        config = workspace.load_config(str(path), ())
        assert PipelineConfig.model_validate(config.model_dump(mode="json", by_alias=True)) == config


def test_weights_stand_beside_the_sources_and_reach_the_mix(tmp_path: Path):
    config = workspace.load_config("quickstart", ["ingest.sources=[{kind: python_docs, name: docs, weight: 0.25}]"])
    assert config.mixture.source_weights == {"docs": 0.25}
    assert workspace.load_config("quickstart", []).mixture.source_weights == {}


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["model.start={kind: open, path: somewhere}"], "the tokenizer must be that model's own"),
        (["mix.source_weights={web: 0.5}"], "give each source a weight"),
        (
            ["ingest.sources=[{kind: python_docs, name: a, weight: 1}, {kind: python_docs, name: b}]"],
            "b has no weight, other sources have one",
        ),
        (["mix.rehydrate=fineweb2"], "mix.max_epochs=1 only once; raise max_epochs"),
        (["nights={series: web}", "dedup.earlier=by_rule"], "with nights leave dedup.earlier at wins"),
        (["register.modle=x"], "unknown key register.modle; did you mean model?"),
        (["registry.model=x"], "unknown key registry; did you mean register?"),
    ],
)
def test_what_does_not_fit_together_is_refused_with_the_way_out(overrides: list[str], complaint: str):
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        workspace.load_config("quickstart", overrides)


def test_an_existing_tokenizer_replaces_the_settings_of_a_trained_one(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(
        f"extends: {CONFIGS / 'quickstart.yaml'}\ntrain_tokenizer: {{kind: existing, path: there}}\n"
    )
    assert workspace.load_config(str(tmp_path / "mine.yaml"), []).train_tokenizer.kind == "existing"


def test_refreshing_a_stage_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="--refresh tokenise: no such stage"):
        workspace.check_stages(["dedup", "evaluate[sft]", "tokenise"])


def test_what_can_be_refreshed_is_each_stage_and_nothing_else():
    """Against the stages that tasks/ declares: a section without one would be accepted and do nothing."""
    declared = {
        value.name
        for path in (CONFIGS.parent / "tasks").glob("*.py")
        for value in vars(importlib.import_module(f"tasks.{path.stem}")).values()
        if isinstance(value, Stage)
    }
    assert workspace.check_stages(sorted(declared)) == declared
    sections = {field.alias or name for name, field in PipelineConfig.model_fields.items()}
    for name in sections - declared:
        with pytest.raises(ConfigError, match=f"--refresh {name}: no such stage"):
            workspace.check_stages([name])


@pytest.fixture
def crawl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with one WARC source, and a store of its own."""
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path / "home"))
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "crawl"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.warc.gz", "deep/b.warc.gz"):
        (folder / name).write_bytes(gzip.compress(b"WARC/1.0\r\n" + name.encode(), mtime=0))
    write(tmp_path, paths=[f"{folder}/**/*.warc.gz"])
    return tmp_path


def write(folder: Path, *, paths: list[str], more: str = "", source: str = "") -> None:
    listed = json.dumps(paths)
    (folder / "my.yaml").write_text(
        f"ingest:\n  sources:\n    - {{kind: warc, name: web, license: CC0-1.0, paths: {listed}{source}}}\n{more}"
    )


def keys(folder: Path, *overrides: str) -> list[str]:
    """Keys of all stages but the last: without a registry nobody can say whom `promote` compares with."""
    *steps, last = make_plan("pipeline", workspace.load_config(str(folder / "my.yaml"), overrides))
    assert {step.state for step in steps} == {"build"}
    assert (last.label, last.state) == ("promote", "blocked")
    return [step.address for step in steps]


def moved(folder: Path) -> None:
    (folder / "crawl").rename(folder / "elsewhere")
    write(folder, paths=[f"{folder}/elsewhere/**/*.warc.gz"])


def copied(folder: Path) -> None:
    shutil.copytree(folder / "crawl", folder / "copy")
    write(folder, paths=[f"{folder}/copy/**/*.warc.gz"])


def touched(folder: Path) -> None:
    for path in (folder / "crawl").rglob("*.warc.gz"):
        os.utime(path, (1, 1))


def edit(text: str = "", **options: str) -> Callable[[Path], None]:
    return lambda folder: write(folder, paths=[f"{folder}/crawl/**/*.warc.gz"], more=text, **options)


def paths(*templates: str) -> Callable[[Path], None]:
    return lambda folder: write(folder, paths=[template.format(folder) for template in templates])


NO_OPS: dict[str, Callable[[Path], None]] = {
    "nothing": lambda folder: None,
    "the crawl moved": moved,
    "the crawl copied": copied,
    "files touched": touched,
    "files listed one by one": paths("{}/crawl/a.warc.gz", "{}/crawl/deep/b.warc.gz"),
    "files listed in another order": paths("{}/crawl/deep/b.warc.gz", "{}/crawl/a.warc.gz"),
    "a path with dots": paths("{0}/crawl/../crawl/**/*.warc.gz"),
    "a narrower glob for the same files": paths("{0}/crawl/**/?.warc.gz"),
    "a file listed twice": paths("{0}/crawl/**/*.warc.gz", "{0}/crawl/a.warc.gz"),
    "a comment": edit("# a comment\n"),
    "blank lines": edit("\n\n\n"),
    "a default written out": edit("dedup: {cap: {}}\n"),
    "a number spelled another way": edit("extract: {min_language_score: 65e-2}\n"),
    "workers": edit("resources: {workers: 7}\n"),
    "threads": edit("resources: {threads: 3}\n"),
    "device": edit("resources: {device: cpu}\n"),
    "training processes": edit("resources: {processes: 2}\n"),
    "how often checkpoints are saved": edit("pretrain: {checkpoint_every_s: 1}\n"),
    "the working directory": lambda folder: os.chdir(folder),
    "an environment variable": lambda folder: os.environ.update(GRISTMILL_TEST_NOTHING="1", OMP_NUM_THREADS="1"),
}


@pytest.mark.parametrize("name", NO_OPS)
def test_an_edit_that_changes_no_result_changes_no_key(crawl: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(Path.cwd())
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("GRISTMILL_TEST_NOTHING", "0")
    before = keys(crawl)
    NO_OPS[name](crawl)
    assert keys(crawl) == before


def test_twenty_edits_are_checked():
    assert len(NO_OPS) == 20


@pytest.mark.parametrize(
    ("override", "first_changed"),
    [
        ("ingest.sources=[{kind: warc, name: web, license: MIT, paths: ['CRAWL/**/*.warc.gz']}]", 0),
        ("extract.min_chars=51", 1),
        ("filter.min_words=51", 3),
        ("signatures.bands=33", 4),
        ("tokenize.seq_len=64", 12),
    ],
)
def test_an_edit_that_changes_results_changes_its_stage_and_what_follows(
    crawl: Path, override: str, first_changed: int
):
    before, after = keys(crawl), keys(crawl, override.replace("CRAWL", str(crawl / "crawl")))
    assert before[:first_changed] == after[:first_changed]
    assert before[first_changed] != after[first_changed]
    assert before[-1] != after[-1]


@pytest.mark.parametrize(
    ("refresh", "override"),
    [
        ("pretrain", "leave_out=[]"),
        ("dedup[n0001]", "leave_out=[]"),
        ("filter", "leave_out=[filter]"),
        ("train_tokenizer", "train_tokenizer={{kind: artifact, artifact: {made}}}"),
    ],
)
def test_a_refresh_that_reaches_no_stage_is_refused(crawl: Path, refresh: str, override: str):
    made = SmallRun(crawl / "home").publish("tokenizer", "train_tokenizer", {})
    config = workspace.load_config(str(crawl / "my.yaml"), [override.format(made=made)])
    assert make_plan("data", config, frozenset({"extract"}))[-1].label == "tokenize"
    said = rf"--refresh {re.escape(refresh)}: the flow data with this configuration builds no such stage"
    with pytest.raises(ValueError, match=said):
        make_plan("data", config, frozenset({refresh, "extract"}))
    with pytest.raises(ValueError, match=said):
        refusal("data", config, frozenset({refresh}))


def test_what_evaluate_asks_is_decontaminated_by_its_content(crawl: Path):
    asked = crawl / "mine.jsonl"
    override = f"evaluate.benchmarks=[{{name: docs_choice}}, {{name: mine, data: {{kind: jsonl, path: {asked}}}}}]"
    decontaminate = 8
    asked.write_text('{"question": "Who?", "choices": ["I", "you"], "answer": 0}\n')
    before = keys(crawl, override)
    asked.write_text('{"question": "What?", "choices": ["I", "you"], "answer": 0}\n')
    after = keys(crawl, override)
    assert before[decontaminate].startswith("documents/decontaminate-")
    assert before[:decontaminate] == after[:decontaminate]
    assert before[decontaminate] != after[decontaminate]


def test_rows_of_your_own_are_checked_for_what_is_asked(crawl: Path):
    rows = crawl / "rows.jsonl"
    rows.write_text('{"prompt": "a", "completion": "b"}\n')
    data = f"data={{kind: files, paths: [{rows}]}}"

    def config(*overrides: str):
        return workspace.load_config(str(crawl / "my.yaml"), list(overrides))

    assert [config().kept_out_of(stage) for stage in ("sft", "reward_model", "align")] == [None] * 3
    own = config(f"sft.{data}", "align.algorithm=grpo", f"align.prompts={{kind: jsonl, path: {rows}}}")
    asked = own.decontamination
    assert [own.kept_out_of(stage) for stage in ("sft", "reward_model", "align")] == [asked, None, asked]
    judged = config("preferences={kind: people, reviews: [reviews]}")
    assert [judged.kept_out_of(stage) is None for stage in ("sft", "reward_model", "align")] == [True, False, False]


def test_what_nothing_reads_is_refused_or_left_out(crawl: Path):
    rows = crawl / "rows.jsonl"
    rows.write_text('{"prompt": "a", "completion": "b"}\n')
    data = f"data={{kind: files, paths: [{rows}]}}"
    people = "preferences={kind: people, reviews: [reviews]}"

    def config(*overrides: str):
        return workspace.load_config(str(crawl / "my.yaml"), list(overrides))

    def stages(*overrides: str) -> set[str]:
        return {step.label for step in make_plan("pipeline", config(*overrides))}

    with pytest.raises(ValueError, match=r"sft.data.kind=files reads others, so nothing"):
        config("synthesize={recipe: rephrase, generator: {kind: model, path: judge}}", f"sft.{data}")
    with pytest.raises(ValueError, match=r"neither reward_model nor align would read them"):
        config(people, f"reward_model.{data}", f"align.{data}")
    assert config(people, f"align.{data}").asks_reward_model
    judge = "align.monitors={judge: [{kind: judge_model}]}"
    alone = config(people, "align.algorithm=grpo", "align.rewards=[{kind: number}]", judge).reward_models
    assert [one.half if one else "none" for one in alone] == ["none", None]
    assert [one.half for one in config("align.algorithm=grpo", judge).reward_models if one] == [0, 1]
    assert "reward_model" in stages()
    assert "reward_model" not in stages("align.answered_prompts=0")
    numbers = ("align.algorithm=grpo", "align.rewards=[{kind: number}]")
    assert "reward_model" not in stages(*numbers)
    assert "reward_model" in stages(*numbers, "test_time={}")
    judged = stages(*numbers, judge)
    assert {"reward_model[judge]"} == {label for label in judged if label.startswith("reward_model")}


def test_a_changed_byte_in_a_source_changes_every_key_after_it(crawl: Path):
    before = keys(crawl)
    path = crawl / "crawl" / "a.warc.gz"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert keys(crawl)[0] != before[0]


def test_a_missing_source_is_named_before_anything_runs(crawl: Path):
    write(crawl, paths=[f"{crawl}/nowhere/*.warc.gz"])
    steps = make_plan("data", workspace.load_config(str(crawl / "my.yaml"), []))
    assert steps[0].state == "blocked"
    assert "nowhere/*.warc.gz" in steps[0].because[0]


def test_planning_imports_neither_torch_nor_mlflow_nor_prefect(crawl: Path):
    program = (
        "import sys; from flows.cli import workspace; from flows.cli.plan import make_plan; "
        f"make_plan('pipeline', workspace.load_config({str(crawl / 'my.yaml')!r}, [])); "
        "print([name for name in ('torch', 'transformers', 'mlflow', 'prefect') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "override",
    [
        "ingest.sources=[{kind: warc, name: x, license: CC0-1.0, paths: ['https://ann:hush-hush@a.org/x.warc.gz']}]",
        "filter.opt_out.lists=['https://hush-hush@a.org/list.txt']",
    ],
)
def test_a_password_in_a_url_is_refused_and_not_repeated(override: str):
    with pytest.raises(ConfigError, match="a URL with a user or password in it") as caught:
        workspace.load_config("quickstart", [override])
    assert "hush-hush" not in str(caught.value)
