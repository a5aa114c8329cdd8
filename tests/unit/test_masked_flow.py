"""A masked language model: which flow it can take, what it asks of the tokenizer, and where it is refused."""

import gzip
from pathlib import Path

import pytest

from flows.cli import workspace
from flows.cli.plan import make_plan
from flows.cli.run import refusal
from gristmill.model.config import ModelConfig, is_masked_model

BERT = "model.family=bert"


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path / "home"))
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "a.warc.gz").write_bytes(gzip.compress(b"WARC/1.0\r\n"))
    (tmp_path / "my.yaml").write_text(
        f"ingest: {{sources: [{{kind: warc, name: web, license: CC0-1.0, paths: ['{tmp_path}/*.gz']}}]}}\n"
    )
    return lambda *overrides: workspace.load_config(str(tmp_path / "my.yaml"), overrides)


def test_the_whole_pipeline_is_refused_before_anything_is_built(load):
    for start in (lambda: make_plan("pipeline", load(BERT)), lambda: refusal("pipeline", load(BERT), frozenset())):
        with pytest.raises(ValueError, match=r"generates no text.*gristmill run pretrain"):
            start()


def test_the_flow_that_ends_with_pretraining_is_open_to_it_and_asks_for_a_mask_token(load):
    steps = {step.label: step for step in make_plan("pretrain", load(BERT))}
    assert refusal("pretrain", load(BERT), frozenset()) is None
    assert list(steps)[-1] == "pretrain"
    assert steps["pretrain"].state == "build"
    recipe = steps["train_tokenizer"].recipe
    assert recipe
    assert recipe.config["train_tokenizer"]["mask_token"] is True


def test_the_flow_that_ends_with_a_classifier_goes_on_from_it(load, tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text('{"text": "x", "label": "a"}\n')
    rows = f"sft={{task: classification, data: {{kind: files, paths: [{tmp_path}/rows.jsonl]}}}}"
    steps = {step.label: step for step in make_plan("classify", load(BERT, rows))}
    assert refusal("classify", load(BERT, rows), frozenset()) is None
    assert list(steps)[-2:] == ["pretrain", "sft"]
    assert steps["sft"].recipe
    assert steps["sft"].recipe.inputs["model"] == steps["pretrain"].address
    with pytest.raises(ValueError, match=r"answers nothing.*gristmill run classify"):
        make_plan("pipeline", load(rows))
    with pytest.raises(ValueError, match="classify fine-tunes a classifier; set sft"):
        make_plan("classify", load(BERT))
    with pytest.raises(ValueError, match=r"classify learns from labelled rows alone.*set synthesize: null"):
        make_plan("classify", load(BERT, rows, "synthesize={generator: {kind: model, path: writer}}"))


def test_another_family_has_the_tokenizer_it_always_had(load):
    def tokenizer(*overrides: str) -> tuple[str, dict]:
        step = next(step for step in make_plan("pretrain", load(*overrides)) if step.label == "train_tokenizer")
        assert step.recipe
        return step.address, step.recipe.config["train_tokenizer"]

    assert tokenizer() == tokenizer("model.family=gpt2")
    assert "mask_token" not in tokenizer()[1]
    assert tokenizer()[0] != tokenizer(BERT)[0]


def test_a_setting_of_another_family_is_refused_by_its_name(load):
    assert load("model.depth=6").model.shape.width == 384
    with pytest.raises(workspace.ConfigError, match=r"kv_heads=2 is no setting of family=gpt2"):
        load("model.family=gpt2", "model.kv_heads=2")


def test_an_open_model_is_known_by_its_class(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"architectures": ["BertForMaskedLM"]}')
    assert is_masked_model(tmp_path)
    assert ModelConfig.model_validate({"start": {"kind": "open", "path": str(tmp_path)}}).is_masked
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    assert not is_masked_model(tmp_path)
    assert not is_masked_model(tmp_path / "nowhere")
