import json
import pickle
import shutil
import sys
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from gristmill.export.formats import export_model
from gristmill.export.huggingface import license_of
from gristmill.export.weights import Weights
from gristmill.model.gguf_files import read_metadata
from gristmill.model.origin import Origin, data_licenses, note_data_license, read_origin, write_origin


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A model folder with what training leaves beside the model."""
    copy = tmp_path / "checkpoint"
    shutil.copytree(tiny_model, copy)
    for name in ("record.json", "metrics.jsonl", "result.json"):
        (copy / name).write_text("{}")
    (copy / "training_args.bin").write_bytes(pickle.dumps({}))
    return copy


def test_the_hugging_face_folder_has_the_model_and_nothing_of_its_training(folder: Path, tmp_path: Path):
    made = export_model(folder, tmp_path / "out", to="hf", name="tiny", source="checkpoint/sft-0123456789ab")
    assert made.path == tmp_path / "out" / "tiny-hf"
    assert sorted(path.name for path in made.path.iterdir()) == [
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    ids = torch.arange(4, 40)[None]
    one, other = (AutoModelForCausalLM.from_pretrained(path)(ids).logits for path in (folder, made.path))
    assert torch.equal(one, other)
    card = (made.path / "README.md").read_text()
    assert "checkpoint/sft-0123456789ab" in card
    assert "No licence is stated" in card
    assert license_of(made.path) is None
    with pytest.raises(ValueError, match="is there already"):
        export_model(folder, tmp_path / "out", to="hf", name="tiny", source="x")


def test_a_card_and_its_licence_travel(folder: Path, tmp_path: Path):
    (folder / "README.md").write_text("---\nlicense: apache-2.0\ntags: [a]\n---\n# Mine\n")
    made = export_model(folder, tmp_path / "out", to="hf", name="tiny", source="x")
    assert (made.path / "README.md").read_text().endswith("# Mine\n")
    assert license_of(made.path) == "apache-2.0"


@pytest.mark.parametrize(
    ("license", "stated"),
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("CC-BY-4.0 AND MIT", {"license": "other", "license_name": "CC-BY-4.0 AND MIT"}),
        ("unknown", {}),
    ],
)
def test_the_origin_of_an_adapted_model_and_its_licence_travel(folder: Path, tmp_path: Path, license, stated):
    origin = Origin(
        name="maker/model at 0123456", license=license, content={"hub": "maker/model", "revision": "0" * 40}
    )
    write_origin(origin, folder)
    made = export_model(folder, tmp_path / "out", to="hf", name="tiny", source="x")
    assert read_origin(made.path) == origin
    card = (made.path / "README.md").read_text()
    assert "Made from maker/model at 0123456" in card
    facts = YAML(typ="safe").load(card.split("---")[1])
    always = {"library_name": "transformers", "pipeline_tag": "text-generation", "base_model": "maker/model"}
    assert facts == always | stated
    assert ("No licence is stated" in card) == (not stated)
    gguf = read_metadata(export_model(folder, tmp_path / "out", to="gguf", name="tiny", source="x").path)
    assert gguf.get("general.license") == (license if stated else None)
    assert gguf["general.base_model.0.name"] == origin.name


def test_declared_licences_of_rows_stand_in_the_card_and_go_along(folder: Path, tmp_path: Path):
    note_data_license(folder, "sft", "CC-BY-NC-4.0")
    note_data_license(folder, "align", "MIT")
    note_data_license(folder, "reward_model", None)
    made = export_model(folder, tmp_path / "out", to="hf", name="tiny", source="x")
    assert data_licenses(made.path) == {"sft": "CC-BY-NC-4.0", "align": "MIT"}
    assert "it was tuned with: sft: CC-BY-NC-4.0; align: MIT" in (made.path / "README.md").read_text()


@pytest.mark.parametrize("card", ["# none", "---\nlicense: [a]\n---\n", "---\n{: ]\n---\n", "---\n- 1\n---\n"])
def test_a_card_without_a_plain_licence_states_none(card: str, tmp_path: Path):
    (tmp_path / "README.md").write_text(card)
    assert license_of(tmp_path) is None


@pytest.mark.parametrize("to", ["hf", "gguf"])
def test_weights_that_are_not_finite_are_refused_and_nothing_is_left(folder: Path, tmp_path: Path, to):
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][[1, 2]] = torch.tensor([float("nan"), float("inf")])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"2 of 32 numbers of model.norm.weight are not finite"):
        export_model(folder, tmp_path / "out", to=to, name="tiny", source="x")
    assert not list((tmp_path / "out").iterdir())


def test_pickled_weights_are_refused(folder: Path, tmp_path: Path):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(ValueError, match=r"only pytorch_model.bin, training_args.bin, and reading a pickle can run"):
        export_model(folder, tmp_path / "out", to="gguf", name="tiny", source="x")


@pytest.mark.parametrize("file", ["../model.safetensors", "model.bin", "gone.safetensors"])
def test_an_index_that_names_other_than_safetensors_beside_it_is_refused(folder: Path, file: str):
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": file}}))
    with pytest.raises(ValueError, match=file):
        Weights(folder)


def test_sharded_weights_are_read(folder: Path, tmp_path: Path):
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    assert len(Weights(tmp_path / "sharded").files) > 1
    one, other = Weights(folder), Weights(tmp_path / "sharded")
    assert one.shapes == other.shapes
    assert all(torch.equal(one.read(name), other.read(name)) for name in one.shapes)


def test_int8_and_int4_are_llama_cpps_and_say_where_they_fall_back(folder: Path, tmp_path: Path):
    pytest.importorskip("llama_cpp")
    int8 = export_model(folder, tmp_path / "out", to="int8", name="tiny", source="x")
    int4 = export_model(folder, tmp_path / "out", to="int4", name="tiny", source="x")
    assert (int8.path.name, int4.path.name) == ("tiny-Q8_0.gguf", "tiny-Q4_K_M.gguf")
    assert list(int8.types) == ["Q8_0", "F32"]
    # rows of 32 and 64 do not divide into the 256 of a Q4_K block: none of the file is Q4_K
    assert "Q4_K" not in int4.types
    assert set(int4.types) <= {"Q5_0", "Q5_1", "Q8_0", "F32"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["tiny-Q4_K_M.gguf", "tiny-Q8_0.gguf"]


def test_without_llama_cpp_the_way_out_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(ValueError, match=r"pip install 'gristmill\[llama\]'"):
        export_model(folder, tmp_path / "out", to="int8", name="tiny", source="x")
    assert not list((tmp_path / "out").iterdir())
