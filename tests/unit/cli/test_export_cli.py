import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_chat_model import write_tiny_model, write_tiny_tokenizer
from transformers import AutoModelForMaskedLM, BertConfig, BertForMaskedLM

from flows.cli.main import app
from gristmill.report import Report
from gristmill.store import ArtifactStore, BrokenArtifact, Recipe
from gristmill.tokens.tokenizer import Vocabulary, token_bytes

SEQ_LEN, ROWS = 64, 3


def publish(store: ArtifactStore, kind: str, stage: str, inputs: dict[str, str | None], fill: Any) -> str:
    recipe = Recipe(kind=kind, stage=stage, version=1, config={}, inputs=inputs)
    with store.building(recipe.address) as draft:
        fill(draft)
        store.publish(draft, recipe, Report(rows_in=1, rows_out=1), label=stage, run="r", seconds=0.0)
    return recipe.address


def write_tokens(folder: Path, model: Path) -> None:
    vocabulary = Vocabulary.load(model)
    (folder / "validation").mkdir()
    rows = np.random.default_rng(0).integers(4, 320, (ROWS, SEQ_LEN + 1)).astype(np.uint16)
    np.save(folder / "validation" / "tokens-00000.npy", rows)
    np.save(folder / "token_bytes.npy", np.array(token_bytes(vocabulary.tokenizer, 320), np.int32))
    meta = {"seq_len": SEQ_LEN, "vocab_size": 320, "splits": {"validation": {"rows": ROWS}}}
    (folder / "meta.json").write_text(json.dumps(meta))


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store with a tiny model that was fine-tuned from one that was trained on token shards."""
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path / "home"))
    store, model = ArtifactStore(tmp_path / "home"), write_tiny_model(tmp_path / "model")
    tokens = publish(store, "tokens", "tokenize", {}, lambda draft: write_tokens(draft, model))
    base = publish(store, "checkpoint", "pretrain", {"tokens": tokens}, write_tiny_model)
    return publish(store, "checkpoint", "sft", {"model": base}, write_tiny_model)


def run(*words: str | Path) -> int:
    return app(["export", *map(str, words)], result_action="return_value")


def test_sizes_and_prices_of_several_formats(checkpoint: str, tmp_path: Path, capsys):
    pytest.importorskip("llama_cpp")
    assert run(checkpoint, "--to", "hf", "gguf", "int8", "--dtype", "f32", "--out", tmp_path / "out", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    stem = checkpoint.partition("/")[2]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"{stem}-F32.gguf",
        f"{stem}-Q8_0.gguf",
        f"{stem}-hf",
    ]
    hf, gguf, int8 = printed["exports"]
    assert hf["price"] == 0
    assert abs(gguf["price"]) < 1e-4
    assert 0 < abs(int8["price"]) < 0.05
    assert int8["bytes"] < gguf["bytes"]
    assert gguf["bytes"] == (tmp_path / "out" / f"{stem}-F32.gguf").stat().st_size


def test_a_table_for_people_and_the_stores_own_folder(checkpoint: str, tmp_path: Path, capsys):
    pytest.importorskip("llama_cpp")
    assert run(checkpoint, "--to", "gguf") == 0
    shown = capsys.readouterr().out
    assert str(tmp_path / "home" / "exports") in shown
    assert "bits a weight: F16 99." in shown
    assert "bits per byte, +0.0" in shown or "bits per byte, -0.0" in shown


def test_without_the_token_shards_the_export_is_made_and_the_price_left_open(checkpoint: str, tmp_path: Path, capsys):
    for path in (tmp_path / "home" / "tokens").iterdir():
        path.rename(tmp_path / "gone")
    assert run(checkpoint, "--to", "hf", "--out", tmp_path / "out") == 0
    printed = capsys.readouterr()
    assert "name some with --tokens" in printed.err
    assert "bits per byte" not in printed.out


def write_masked_model(folder: Path) -> None:
    write_tiny_tokenizer(folder)
    config = BertConfig(vocab_size=320, hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    BertForMaskedLM(config).save_pretrained(folder)


def test_a_masked_model_is_exported_and_not_measured(checkpoint: str, tmp_path: Path, capsys):
    store = ArtifactStore(tmp_path / "home")
    (tokens,) = (record.address for record in store.records() if record.label == "tokenize")
    bert = publish(store, "checkpoint", "masked", {"tokens": tokens}, write_masked_model)
    assert run(bert, "--to", "hf", "--out", tmp_path / "out", "--json") == 0
    printed = capsys.readouterr()
    assert "not measured: a model that fills in masked tokens" in printed.err
    assert json.loads(printed.out)["bits_per_byte"] is None
    (folder,) = (tmp_path / "out").iterdir()
    assert 'pipeline_tag: "fill-mask"' in (folder / "README.md").read_text()
    assert type(AutoModelForMaskedLM.from_pretrained(folder)) is BertForMaskedLM


def test_a_changed_checkpoint_is_not_exported(checkpoint: str, tmp_path: Path):
    weights = tmp_path / "home" / checkpoint / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    with pytest.raises(BrokenArtifact, match=r"model.safetensors was changed after it was published"):
        run(checkpoint, "--to", "hf", "--out", tmp_path / "out")
    os.utime(weights, (0, 0))  # as on a failing disk: other bytes, and nobody wrote them
    with pytest.raises(ValueError, match=r"model.safetensors does not have the sha256 .*; nothing was exported"):
        run(checkpoint, "--to", "hf", "--out", tmp_path / "out")


def test_other_artifacts_and_other_vocabularies_are_refused(checkpoint: str, tmp_path: Path):
    (tokens,) = (record.address for record in ArtifactStore(tmp_path / "home").records() if record.label == "tokenize")
    with pytest.raises(ValueError, match="is of the kind tokens; name a checkpoint"):
        run(tokens, "--to", "hf")
    other = publish(
        ArtifactStore(tmp_path / "home"),
        "tokens",
        "other",
        {},
        lambda draft: (
            write_tokens(draft, tmp_path / "model"),
            np.save(draft / "token_bytes.npy", np.ones(320, np.int32)),
        ),
    )
    with pytest.raises(ValueError, match="another tokenizer than the model's"):
        run(checkpoint, "--to", "hf", "--tokens", other, "--out", tmp_path / "out")
