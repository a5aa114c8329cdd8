import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from flows.cli.main import app
from gristmill.errors import ConfigError
from gristmill.report import Report
from gristmill.store import ArtifactStore, Recipe


def run(*words: str | Path) -> int:
    """The command's exit code."""
    return app(["tokenizer", "compare", *map(str, words)], result_action="return_value")


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """Two byte-level vocabularies: bytes alone, and with a token for `ab`."""
    made = []
    for name, merges in (("bytes", []), ("pairs", [("a", "b")])):
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        vocab = {
            token: number for number, token in enumerate([*alphabet, *("".join(pair) for pair in merges), "<end>"])
        }
        tokenizer = Tokenizer(models.BPE(vocab, merges))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens(["<end>"])
        (tmp_path / name).mkdir()
        tokenizer.save(str(tmp_path / name / "tokenizer.json"))
        (tmp_path / name / "tokenizer_config.json").write_text('{"eos_token": "<end>"}')
        made.append(tmp_path / name)
    return made[0], made[1]


@pytest.fixture
def texts(tmp_path) -> Path:
    rows = [{"text": "ab ab", "lang": "xx"}, {"text": "ы ы", "language": "ru"}, {"text": "abab"}]
    path = tmp_path / "some.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_coverage_is_counted_by_language(folders, texts, capsys):
    assert run(*folders, "--text", texts, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    single, pairs = (printed["tokenizers"][str(folder)] for folder in folders)
    assert (single["vocab_size"], pairs["vocab_size"]) == (257, 258)
    assert single["llama_cpp_pre"] == "gpt-2"
    assert pairs["languages"]["xx"] == {"bytes_per_token": 5 / 3, "tokens_per_word": 3 / 2}
    assert pairs["languages"]["some"] == {"bytes_per_token": 4 / 2, "tokens_per_word": 2}
    assert pairs["languages"]["ru"] == single["languages"]["ru"] == {"bytes_per_token": 1, "tokens_per_word": 5 / 2}
    assert pairs["languages"]["all"] == {"bytes_per_token": 14 / 10, "tokens_per_word": 10 / 5}


def test_a_table_names_each_tokenizer(folders, texts, capsys):
    assert run(folders[1], "--text", texts) == 0
    shown = capsys.readouterr().out
    assert f"{folders[1]}: 258 tokens, word split: gpt-2" in shown
    assert "| xx | 1.67 bytes/token, 1.50 tokens/word |" in shown


def test_artifacts_are_named_by_address(folders, write_documents, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path / "home"))
    store, addresses = ArtifactStore(tmp_path / "home"), []
    documents = write_documents("documents", [{"text": "ab", "language": "xx"}])
    for kind, source in (("tokenizer", folders[1]), ("documents", documents)):
        recipe = Recipe(kind=kind, stage="train_tokenizer", version=1, config={}, inputs={})
        with store.building(recipe.address) as draft:
            for path in source.iterdir():
                (draft / path.name).write_bytes(path.read_bytes())
            store.publish(draft, recipe, Report(rows_in=1, rows_out=1), label=kind, run="x", seconds=1.0)
        addresses.append(recipe.address)
    assert run(addresses[0], "--documents", addresses[1], "--json") == 0
    printed = json.loads(capsys.readouterr().out)["tokenizers"][addresses[0]]
    assert printed["languages"]["xx"] == {"bytes_per_token": 2, "tokens_per_word": 1}


def test_arguments_that_cannot_be_meant_are_refused(folders, texts, tmp_path):
    for words in ((folders[0],), (folders[0], "--text", texts, "--documents", "documents/dedup-0")):
        with pytest.raises(ConfigError, match="name the text to measure on, either --text"):
            run(*words)
    with pytest.raises(ValueError, match=r"no tokenizer.json there"):
        run(tmp_path, "--text", texts)
    (tmp_path / "rows.jsonl").write_text('{"body": "x"}')
    with pytest.raises(ValueError, match=r"rows.jsonl:1: no text under the key 'text'; it has body"):
        run(folders[0], "--text", tmp_path / "rows.jsonl")
