"""Night after night: a pinned tokenizer keeps the vocabulary; a changed one stops the plan before anything runs."""

import gzip
import json
from pathlib import Path

import pytest

from flows.cli import workspace
from flows.cli.plan import make_plan
from flows.cli.run import refusal
from gristmill.report import Report
from gristmill.store import ArtifactStore, Recipe
from gristmill.yaml import ConfigError
from tasks.stage import Step

TOKENIZER_JSON = json.dumps({"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})


@pytest.fixture
def crawl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first night's crawl, and a store of its own."""
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path / "home"))
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    second_night(tmp_path, "first")
    (tmp_path / "my.yaml").write_text(
        f"ingest: {{sources: [{{kind: warc, name: web, license: CC0-1.0, paths: ['{tmp_path}/crawl/*.gz']}}]}}\n"
    )
    return tmp_path


def second_night(folder: Path, content: str = "second") -> None:
    (folder / "crawl").mkdir(exist_ok=True)
    (folder / "crawl/a.warc.gz").write_bytes(gzip.compress(content.encode(), mtime=0))


def plan(folder: Path, *overrides: str) -> dict[str, Step]:
    steps = make_plan("pipeline", workspace.load_config(str(folder / "my.yaml"), overrides))
    return {step.label: step for step in steps}


def publish(recipe: Recipe | None, files: dict[str, str]) -> str:
    """As a finished stage would leave it; the files are placeholders but for the tokenizer's."""
    assert recipe
    store = workspace.store()
    with store.building(recipe.address) as draft:
        for name, content in files.items():
            (draft / name).write_text(content)
        store.publish(draft, recipe, Report(rows_in=1, rows_out=1), label=recipe.stage, run="first", seconds=1.0)
    return recipe.address


@pytest.fixture
def first_night(crawl: Path) -> tuple[str, str]:
    """Addresses of the tokenizer and the base model that the first night made."""
    steps = plan(crawl)
    tokenizer = publish(steps["train_tokenizer"].recipe, {"tokenizer.json": TOKENIZER_JSON})
    model = publish(steps["pretrain"].recipe, {"tokenizer.json": TOKENIZER_JSON, "model.safetensors": "weights"})
    return tokenizer, model


def going_on(model: str) -> str:
    return f"model.start={{kind: artifact, artifact: {model}}}"


def pinned(tokenizer: str) -> str:
    return f"train_tokenizer={{kind: artifact, artifact: {tokenizer}}}"


def test_a_pinned_tokenizer_stays_while_the_crawl_changes(crawl, first_night):
    tokenizer, model = first_night
    second_night(crawl)
    steps = plan(crawl, pinned(tokenizer), going_on(model))
    assert (steps["train_tokenizer"].state, steps["train_tokenizer"].address) == ("reuse", tokenizer)
    assert [steps[name].state for name in ("ingest", "tokenize", "pretrain")] == ["build"] * 3
    assert steps["pretrain"].recipe
    assert steps["pretrain"].recipe.inputs["tokenizer"] == tokenizer
    assert steps["pretrain"].recipe.inputs["start"] == model
    assert refusal("pipeline", config(crawl, pinned(tokenizer), going_on(model)), frozenset()) is None


def config(folder: Path, *overrides: str):
    return workspace.load_config(str(folder / "my.yaml"), overrides)


def test_a_vocabulary_trained_anew_forces_a_restart_and_the_plan_says_so(crawl, first_night):
    tokenizer, model = first_night
    second_night(crawl)
    steps = plan(crawl, going_on(model))
    assert steps["train_tokenizer"].state == "build"
    assert steps["pretrain"].state == "blocked"
    (because,) = steps["pretrain"].because
    assert because == (
        f"the vocabulary changed: {model} was trained with {tokenizer}, this run has "
        f"{steps['train_tokenizer'].address}, so training has to start anew. Set model.start: {{kind: scratch}} for "
        f"that; or keep the vocabulary with train_tokenizer: {{kind: artifact, artifact: {tokenizer}}}"
    )
    assert {steps[name].state for name in ("evaluate[pretrain]", "sft", "align", "register")} == {"blocked"}
    assert refusal("pipeline", config(crawl, going_on(model)), frozenset()) == because


def test_stages_learn_from_the_rows_of_an_earlier_run_where_their_data_names_it(crawl, first_night):
    earlier = publish(plan(crawl)["examples"].recipe, {"sft.jsonl": ""})
    second_night(crawl)
    another = "examples.max_preference_pairs=7"
    named = f"{{kind: artifact, artifact: {earlier}}}"
    steps = plan(crawl, another, f"sft.data={named}", f"align.data={named}")
    rows = {step.label: step.recipe.inputs.get("examples") for step in steps.values() if step.recipe}
    assert rows["sft"] == rows["align"] == earlier
    assert rows["reward_model"] == rows["evaluate[sft]"] != earlier
    missing = plan(crawl, "sft.data={kind: artifact, artifact: examples/examples-000000000000}")
    assert missing["sft"].state == "blocked"


def test_a_restart_that_is_asked_for_is_planned(crawl, first_night):
    second_night(crawl)
    steps = plan(crawl, "model.start={kind: scratch}")
    assert steps["pretrain"].state == "build"
    assert steps["pretrain"].recipe
    assert steps["pretrain"].recipe.inputs["start"] is None


def test_the_same_crawl_has_the_same_vocabulary_and_goes_on_without_a_pin(crawl, first_night):
    assert plan(crawl, going_on(first_night[1]))["pretrain"].state == "build"


def test_a_model_that_was_tuned_keeps_the_vocabulary_of_its_base(crawl, first_night):
    tokenizer, model = first_night
    recipe = Recipe(kind="checkpoint", stage="sft", version=1, config={}, inputs={"model": model})
    tuned = publish(recipe, {"tokenizer.json": TOKENIZER_JSON})
    second_night(crawl)
    assert plan(crawl, pinned(tokenizer), going_on(tuned))["pretrain"].state == "build"
    blocked = plan(crawl, going_on(tuned))["pretrain"]
    assert blocked.state == "blocked"
    assert tokenizer in blocked.because[0]


def test_a_tokenizer_by_path_goes_on_when_its_file_is_the_models(crawl, first_night, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(TOKENIZER_JSON)
    (folder / "tokenizer_config.json").write_text("{}")
    second_night(crawl)
    by_path = f"train_tokenizer={{kind: existing, path: {folder}}}"
    extended = f"train_tokenizer={{kind: extend, path: {folder}, scripts: [Cyrillic]}}"
    for setting in (by_path, extended):
        assert plan(crawl, setting, going_on(first_night[1]))["pretrain"].state == "build"
    (folder / "tokenizer.json").write_text(TOKENIZER_JSON.replace('"a"', '"b"'))
    for setting in (by_path, extended):
        steps = plan(crawl, setting, going_on(first_night[1]))
        assert (steps["train_tokenizer"].state, steps["pretrain"].state) == ("build", "blocked")


def test_an_extended_tokenizer_that_was_built_goes_on_from_its_base(crawl, first_night, tmp_path):
    tokenizer, model = first_night
    base = ArtifactStore(tmp_path / "home").path(tokenizer)
    (base / "tokenizer_config.json").write_text("{}")
    extended = f"train_tokenizer={{kind: extend, path: {base}, scripts: [Cyrillic]}}"
    address = publish(plan(crawl, extended)["train_tokenizer"].recipe, {"tokenizer.json": "more of it"})
    second_night(crawl)
    assert plan(crawl, pinned(address), going_on(model))["pretrain"].state == "build"


@pytest.fixture
def open_model(tmp_path: Path) -> Path:
    folder = tmp_path / "open"
    folder.mkdir()
    for name, content in {
        "tokenizer.json": TOKENIZER_JSON,
        "config.json": "{}",
        "tokenizer_config.json": "{}",
        "a.safetensors": "weights",
    }.items():
        (folder / name).write_text(content)
    return folder


def test_an_open_model_takes_its_own_tokenizer_or_one_that_extends_it(crawl, open_model, tmp_path):
    start = f"model.start={{kind: open, path: {open_model}}}"
    unstated = "licenses.allow=[unknown]"
    for setting in (
        f"{{kind: existing, path: {open_model}}}",
        f"{{kind: extend, path: {open_model}, scripts: [Thai]}}",
    ):
        assert plan(crawl, f"train_tokenizer={setting}", start, unstated)["pretrain"].state == "build"
    other = tmp_path / "other"
    other.mkdir()
    (other / "tokenizer.json").write_text("{}")
    blocked = plan(crawl, f"train_tokenizer={{kind: existing, path: {other}}}", start, unstated)["pretrain"]
    assert blocked.state == "blocked"
    assert "is not the one that train_tokenizer names" in blocked.because[0]


def test_an_open_model_is_named_once_and_gives_its_tokenizer(crawl, open_model):
    settings = (f"model.start={{kind: open, path: {open_model}}}", "licenses.allow=[unknown]")
    steps = plan(crawl, "train_tokenizer={kind: existing}", *settings)
    imported = steps["open_model"].address
    for label, name in (("train_tokenizer", "base"), ("pretrain", "start"), ("evaluate[open_model]", "model")):
        recipe = steps[label].recipe
        assert recipe
        assert recipe.inputs[name] == imported
    # with its own vocabulary unchanged the model is scored on the very rows that it is then trained on
    assert steps["tokenize[open_model]"].address == steps["tokenize"].address
    extended = plan(crawl, "train_tokenizer={kind: extend, scripts: [Cyrillic]}", *settings)
    assert extended["pretrain"].state == "build"
    assert extended["tokenize[open_model]"].address == steps["tokenize"].address != extended["tokenize"].address


def test_the_licence_of_an_open_model_is_shown_and_must_be_allowed(crawl, open_model):
    settings = ("train_tokenizer={kind: existing}", f"model.start={{kind: open, path: {open_model}}}")
    blocked = plan(crawl, *settings)["open_model"]
    assert blocked.state == "blocked"
    assert "states no licence" in blocked.because[0]
    (open_model / "README.md").write_text("---\nlicense: llama3.2\n---\n")
    assert "is under llama3.2" in plan(crawl, *settings)["open_model"].because[0]
    refused = refusal("pipeline", config(crawl, *settings), frozenset())
    assert refused
    assert "add 'llama3.2' to licenses.allow" in refused
    allowed = plan(crawl, *settings, "licenses.allow=[Llama3.2]")["open_model"]
    assert (allowed.state, allowed.notes) == ("build", ["open, licence llama3.2"])
    (open_model / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert plan(crawl, *settings)["open_model"].notes == ["open, licence Apache-2.0"]
    assert refusal("pipeline", config(crawl, *settings), frozenset()) is None


def test_a_tokenizer_without_a_path_needs_a_model_to_start_from(crawl):
    with pytest.raises(ConfigError, match="name the tokenizer's folder, or a model to start from"):
        config(crawl, "train_tokenizer={kind: existing}")


def test_a_checkpoint_of_an_earlier_run_gives_its_tokenizer_too(crawl, first_night):
    steps = plan(crawl, "train_tokenizer={kind: existing}", going_on(first_night[1]))
    assert steps["train_tokenizer"].recipe
    assert steps["train_tokenizer"].recipe.inputs["base"] == first_night[1]
    assert steps["pretrain"].state == "build"


def test_a_pinned_tokenizer_that_is_gone_blocks_the_plan(crawl):
    steps = plan(crawl, pinned("tokenizer/train_tokenizer-0123456789ab"))
    assert [steps[name].state for name in ("train_tokenizer", "tokenize", "pretrain")] == ["blocked"] * 3
    assert steps["split"].state == "build"


def test_the_size_of_a_vocabulary_may_follow_from_the_model(crawl):
    recipes = [
        plan(crawl, "train_tokenizer.vocab_size=auto", f"model.depth={depth}")["train_tokenizer"].recipe
        for depth in (8, 12)
    ]
    assert [recipe.config["train_tokenizer"]["vocab_size"] for recipe in recipes if recipe] == [4992, 9024]
    with pytest.raises(ConfigError, match="follows from the shape of a new model"):
        config(crawl, "train_tokenizer.vocab_size=auto", going_on("checkpoint/pretrain-0123456789ab"))


def test_an_address_of_something_else_isrefusal(crawl):
    with pytest.raises(ConfigError, match=r"train_tokenizer.*artifact"):
        config(crawl, pinned("checkpoint/pretrain-0123456789ab"))


def annealing(tokens: str) -> str:
    return f"pretrain.anneal={{artifact: {tokens}, share: 0.2}}"


def test_rows_to_anneal_on_are_an_input_of_training(crawl, first_night):
    tokenizer, _ = first_night
    better = publish(plan(crawl)["tokenize"].recipe, {"meta.json": "{}"})
    second_night(crawl)
    steps = plan(crawl, pinned(tokenizer), annealing(better))
    assert (steps["tokenize[anneal]"].state, steps["tokenize[anneal]"].address) == ("reuse", better)
    assert (steps["tokenize"].state, steps["pretrain"].state) == ("build", "build")
    assert steps["tokenize"].address != better
    assert steps["pretrain"].recipe
    assert steps["pretrain"].recipe.inputs["anneal"] == better
    without = plan(crawl, pinned(tokenizer))["pretrain"]
    assert without.recipe
    assert without.recipe.inputs["anneal"] is None
    assert without.address != steps["pretrain"].address


def test_rows_of_another_vocabulary_block_the_plan(crawl, first_night):
    tokenizer, _ = first_night
    better = publish(plan(crawl)["tokenize"].recipe, {"meta.json": "{}"})
    second_night(crawl)
    blocked = plan(crawl, annealing(better))["pretrain"]
    assert blocked.state == "blocked"
    assert blocked.because[0].startswith(f"pretrain.anneal: {better} was made with {tokenizer}, this run has ")
    assert f"train_tokenizer: {{kind: artifact, artifact: {tokenizer}}}" in blocked.because[0]


def test_rows_to_anneal_on_that_are_gone_block_the_plan(crawl):
    steps = plan(crawl, annealing("tokens/tokenize-0123456789ab"))
    assert [steps[name].state for name in ("tokenize[anneal]", "pretrain")] == ["blocked"] * 2
    assert steps["tokenize"].state == "build"


def test_an_address_of_something_else_to_anneal_on_is_refused(crawl):
    with pytest.raises(ConfigError, match=r"pretrain\.anneal\.artifact"):
        config(crawl, annealing("checkpoint/pretrain-0123456789ab"))
