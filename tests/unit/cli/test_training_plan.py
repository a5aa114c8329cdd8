import json
from typing import Any

import pytest

from flows.cli import workspace
from flows.cli.plan import as_json
from flows.cli.training_plan import training_lines, training_plan
from gristmill.model.build import build_model
from gristmill.report import Report
from gristmill.store import ArtifactStore, Recipe
from gristmill.train import speed

CONFIG = """
ingest: {sources: [{kind: warc, name: web, license: CC0-1.0, paths: [/nowhere/*.warc.gz]}]}
train_tokenizer: {vocab_size: 1000}
tokenize: {seq_len: 64}
model: {depth: 2, kv_heads: 1}
pretrain: {tokens: 64000, batch_rows: 10, optim: {lr_head: 0.007}, precision: fp32}
resources: {device: cpu, threads: 3}
prices: {machine_hour: 36.0}
"""


def planned(tmp_path, monkeypatch, *overrides):
    monkeypatch.setattr(speed, "core_peak_flops", lambda: 1e11)
    (tmp_path / "my.yaml").write_text(CONFIG)
    config = workspace.load_config(str(tmp_path / "my.yaml"), overrides)
    return config, training_plan(config, ArtifactStore(tmp_path / "home"))


def test_every_value_is_shown_with_its_origin(tmp_path, monkeypatch):
    _, plan = planned(tmp_path, monkeypatch)
    assert plan is not None
    values = {value["name"]: (value["value"], value["origin"]) for value in plan["values"]}
    assert values["model.width"] == (128, "derived")
    assert values["model.kv_heads"] == (1, "given")
    assert values["pretrain.steps"] == (100, "derived")
    assert values["pretrain.optim.lr_head"] == (0.007, "given")
    assert values["pretrain.optim.lr_matrix"][1] == "derived"
    assert None not in [value for value, _ in values.values()]
    given, derived = training_lines(plan)[:2]
    assert "pretrain.optim.lr_head 0.007" in given
    assert all(name in given + derived for name in values)


def test_the_estimates_are_those_of_the_model_that_would_be_built(tmp_path, monkeypatch):
    config, plan = planned(tmp_path, monkeypatch)
    assert plan is not None
    estimates = plan["estimates"]
    model = build_model(config.model, vocab_size=1000, max_seq_len=64, bos_id=1, eos_id=0, pad_id=2, seed=0)
    assert estimates["parameters"]["total"] == sum(weight.numel() for weight in model.parameters())
    # two layers: queries and output 2·128·128, keys and values 2·128·64, feed-forward 3·128·384, norms 2·64 + 2·128;
    # the last norm 128; the output 1000·128
    per_token = 6 * (2 * (32_768 + 16_384 + 147_456 + 384) + 128 + 128_000) + 12 * 2 * 128 * 64
    assert estimates["flops"] == per_token * 64_000
    hours = estimates["flops"] / (0.6 * 3 * 1e11) / 3600
    assert abs(estimates["hours"] - hours) < 1e-12
    assert abs(estimates["price"] - 36 * hours) < 1e-9
    assert f"price {36 * hours:,.2f}" in training_lines(plan)[-1]


def test_an_automatic_vocabulary_is_derived(tmp_path, monkeypatch):
    _, plan = planned(tmp_path, monkeypatch, "train_tokenizer.vocab_size=auto")
    assert plan is not None
    values = {value["name"]: value for value in plan["values"]}
    assert values["train_tokenizer.vocab_size"]["origin"] == "derived"
    assert values["train_tokenizer.vocab_size"]["value"] == plan["vocab_size_advice"]


def test_a_tokenizer_on_disk_is_counted(tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    tokens = {"added_tokens": [{"id": 11}], "model": {"vocab": {"a": 0, "b": 5}}}
    (folder / "tokenizer.json").write_text(json.dumps(tokens))
    _, plan = planned(tmp_path, monkeypatch, f"train_tokenizer={{kind: existing, path: {folder}}}")
    assert plan is not None
    assert plan["estimates"]["parameters"]["vocabulary"] == 2 * 12 * 128


def test_a_tokenizer_that_is_not_there_yet_leaves_the_estimates_out(tmp_path, monkeypatch):
    _, plan = planned(tmp_path, monkeypatch, "train_tokenizer={kind: existing, path: /nowhere}")
    assert plan is not None
    assert "estimates" not in plan
    assert training_lines(plan)[-1] == "sizes and time: known when the tokenizer is there"


def publish_training(store: ArtifactStore, *, seconds: float, rows: list[dict[str, Any]], **changed: Any) -> str:
    """A pretraining of a million parameters on 9,000 tokens, as the configuration above would run it."""
    told = {"precision": "fp32", "configured": "fp32", "device": "cpu", "threads": 3, "processes": 1, "nodes": 1}
    told |= changed
    precision, configured = told.pop("precision"), told.pop("configured")
    details = {"precision": precision, "resolved": {"precision": configured}}
    report = Report(rows_in=9000, rows_out=9000, metrics={"parameters": 1e6}, details=details)
    seed = len(store.records())
    recipe = Recipe(kind="checkpoint", stage="pretrain", version=2, config={"seed": seed}, inputs={})
    with store.building(recipe.address) as draft:
        (draft / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        facts = {"label": "pretrain", "run": "test-20260101-000000", "seconds": seconds, "resources": told}
        return store.publish(draft, recipe, report, **facts).address


LOGGED = [
    {"step": 1, "loss": 5.0, "tokens": 1000, "elapsed_s": 10.0},
    {"step": 8, "loss": 4.0, "tokens": 8000, "elapsed_s": 80.0},
    {"step": 9, "bits_per_byte": 2.0},
]


def test_a_run_that_was_resumed_counts_with_all_its_seconds(tmp_path, monkeypatch):
    publish_training(ArtifactStore(tmp_path / "home"), seconds=1.0, rows=LOGGED)  # the last attempt took a second
    _, plan = planned(tmp_path, monkeypatch)
    assert plan is not None
    estimates = plan["estimates"]
    assert estimates["tokens_per_s"] == pytest.approx(8000 / 80 * 1e6 / estimates["parameters"]["total"])


@pytest.mark.parametrize("changed", [{"nodes": 2}, {"threads": 1}, {"precision": "bf16"}])
def test_a_run_of_another_kind_says_nothing_of_this_one(changed, tmp_path, monkeypatch):
    address = publish_training(ArtifactStore(tmp_path / "home"), seconds=90.0, rows=LOGGED, **changed)
    _, plan = planned(tmp_path, monkeypatch)
    assert plan is not None
    assert address not in plan["estimates"]["tokens_per_s_basis"]


def test_auto_is_what_it_was_in_an_earlier_run_of_auto(tmp_path, monkeypatch):
    store = ArtifactStore(tmp_path / "home")
    publish_training(store, seconds=90.0, rows=LOGGED)
    auto = publish_training(store, seconds=90.0, rows=LOGGED, configured="auto")
    _, plan = planned(tmp_path, monkeypatch, "pretrain.precision=auto")
    assert plan is not None
    assert auto in plan["estimates"]["tokens_per_s_basis"]


def test_a_run_that_logged_no_time_is_passed_over(tmp_path, monkeypatch):
    address = publish_training(ArtifactStore(tmp_path / "home"), seconds=90.0, rows=[{"step": 1, "loss": 5.0}])
    _, plan = planned(tmp_path, monkeypatch)
    assert plan is not None
    assert address not in plan["estimates"]["tokens_per_s_basis"]


def test_adamw_keeps_two_numbers_a_weight(tmp_path, monkeypatch):
    _, plan = planned(tmp_path, monkeypatch, "pretrain.optim.kind=adamw")
    assert plan is not None
    estimates = plan["estimates"]
    assert estimates["memory_bytes"]["optimizer"] == 2 * 4 * estimates["parameters"]["total"]


@pytest.mark.parametrize(
    ("flow", "family", "is_shown"),
    [("pipeline", "qwen3", True), ("pretrain", "qwen3", True), ("pretrain", "bert", True), ("data", "qwen3", False)],
)
def test_flows_that_pretrain_one_model_show_its_values(flow, family, is_shown, tmp_path, monkeypatch):
    kv_heads = [] if family == "qwen3" else ["model.kv_heads=null"]
    config, _ = planned(tmp_path, monkeypatch, f"model.family={family}", *kv_heads)
    monkeypatch.setattr(workspace, "store", lambda: ArtifactStore(tmp_path / "home"))
    plan = as_json(flow, config, "my", [])
    assert ("training" in plan) == is_shown
    if is_shown:
        assert any("pretrain.steps" in line for line in training_lines(plan["training"]))
