"""The flows `scaling` and `ablation`, planned: which stages they have, what is shared, what a change rebuilds."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.ablation import ablation
from flows.scaling import scaling
from gristmill.config import PipelineConfig
from gristmill.store import ArtifactStore
from tasks.stage import Session, Step, session


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    text = tmp_path / "pages.jsonl"
    text.write_text(json.dumps({"text": "A page."}) + "\n")
    return {
        "ingest": {"sources": [{"kind": "jsonl", "name": "pages", "paths": [str(text)]}]},
        "examples": {"source": {"packages": ["stdlib"], "max_modules": 1}},
        "train_tokenizer": {"vocab_size": 512},
        "tokenize": {"seq_len": 64},
        "scaling": {"depths": [1, 2, 3, 4], "width_per_layer": 16, "tokens_per_parameter": [1, 2]},
    }


def plan(flow: Any, settings: dict[str, Any], root: Path) -> dict[str, Step]:
    planned = Session(store=ArtifactStore(root / "store"), planning=True)
    with session(planned):
        flow(PipelineConfig.model_validate(settings))
    assert all(step.state == "build" or step.because[0].startswith("the same as ") for step in planned.steps)
    return {step.label: step for step in planned.steps}


def test_each_rung_is_a_stage_of_its_own_and_the_law_takes_them_all(settings: dict, tmp_path: Path):
    steps = plan(scaling, settings, tmp_path)
    rungs = [f"d{depth}-x{ratio}" for depth in (1, 2, 3, 4) for ratio in (1, 2)]
    assert [label for label in steps if label.startswith("pretrain")] == [f"pretrain[{rung}]" for rung in rungs]
    recipe = steps["scaling"].recipe
    assert recipe
    assert recipe.inputs == {f"rungs.{rung}": steps[f"pretrain[{rung}]"].address for rung in rungs}
    assert len({steps[f"pretrain[{rung}]"].address for rung in rungs}) == 8


def test_another_rung_leaves_those_that_are_there(settings: dict, tmp_path: Path):
    before = plan(scaling, settings, tmp_path)
    settings["scaling"] |= {"depths": [1, 2, 3, 4, 5], "budgets": [{"kind": "flops", "flops": 1e15}]}
    after = plan(scaling, settings, tmp_path)
    assert after.keys() - before.keys() == {"pretrain[d5-x1]", "pretrain[d5-x2]"}
    assert [label for label in before if before[label].address != after[label].address] == ["scaling"]


def test_a_ladder_without_a_known_vocabulary_is_refused(settings: dict, tmp_path: Path):
    settings["train_tokenizer"] = {"kind": "artifact", "artifact": "tokenizer/train_tokenizer-000000000000"}
    with pytest.raises(ValueError, match="kind: bpe"):
        _ = PipelineConfig.model_validate(settings).ladder


@pytest.mark.parametrize(("flow", "name"), [(scaling, "scaling"), (ablation, "ablation")])
def test_masked_models_are_refused(flow: Any, name: str, settings: dict, tmp_path: Path):
    settings["model"] = {"family": "bert"}
    with pytest.raises(ValueError, match=f"{name} compares bits per byte, and a masked language model"):
        plan(flow, settings, tmp_path)


def test_recipes_share_what_they_have_in_common_and_the_tokenizer(settings: dict, tmp_path: Path):
    steps = plan(ablation, settings, tmp_path)
    assert steps["signals[raw]"].address == steps["signals[clean]"].address
    assert (steps["signals[raw]"].state, steps["signals[clean]"].state) == ("build", "reuse")
    assert "filter[raw]" not in steps
    assert "dedup[raw]" not in steps
    assert "filter[clean]" in steps
    assert [label for label in steps if label.startswith("train_tokenizer")] == ["train_tokenizer"]
    inputs = {label: step.recipe.inputs for label, step in steps.items() if step.recipe}
    assert inputs["train_tokenizer"]["splits"] == steps["split[clean]"].address
    assert inputs["tokenize[raw]"]["tokenizer"] == inputs["tokenize[clean]"]["tokenizer"]
    trials = [f"{recipe}-s{seed}" for recipe in ("raw", "clean") for seed in (0, 1, 2)]
    assert inputs["ablation"] == {f"trials.{trial}": steps[f"text_bits[{trial}]"].address for trial in trials}
    for trial in trials:
        assert inputs[f"text_bits[{trial}]"]["splits"] == steps["split[clean]"].address


def test_all_trials_have_the_same_training_but_for_the_seed(settings: dict, tmp_path: Path):
    steps = plan(ablation, settings, tmp_path)
    configs = [step.recipe.config for label, step in steps.items() if label.startswith("pretrain") and step.recipe]
    assert [config["pretrain"].pop("seed") for config in configs] == [0, 1, 2, 0, 1, 2]
    assert all(config == configs[0] for config in configs)


def test_a_recipe_changes_its_sections_alone(settings: dict):
    settings["ablation"] = {
        "recipes": {"short": {"filter": {"min_words": 5}}, "long": {}},
        "baseline": "long",
        "reference": "long",
    }
    config = PipelineConfig.model_validate(settings)
    assert config.recipes["long"] == config
    changed = config.recipes["short"]
    assert changed.filter.min_words == 5
    assert [name for name in type(config).model_fields if getattr(changed, name) != getattr(config, name)] == ["filter"]


def test_a_recipe_with_an_unknown_setting_is_refused(settings: dict):
    settings["ablation"] = {"recipes": {"raw": {"filter": {"min_wrods": 5}}, "clean": {}}}
    with pytest.raises(ValueError, match="min_wrods"):
        _ = PipelineConfig.model_validate(settings).recipes
