"""`gristmill tokenizer`: how well tokenizers cover the languages of some text."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from flows.cli import workspace
from gristmill.errors import ConfigError

if TYPE_CHECKING:
    from gristmill.tokens.compression import Coverage

app = App(name="tokenizer", help="Look at tokenizers.")

Tokenizers = Annotated[
    tuple[str, ...], Parameter(help="Folders with a tokenizer.json, or addresses such as tokenizer/train_tokenizer-….")
]
Files = Annotated[
    tuple[Path, ...],
    Parameter(name="--text", consume_multiple=True, negative="", help="JSONL files (.gz too): text, language or lang."),
]
Documents = Annotated[
    str | None, Parameter(help="Address of documents or splits (their validation part) to measure on.")
]
Json = Annotated[bool, Parameter(name="--json", negative="", help="One JSON object on stdout.")]


@app.command
def compare(tokenizers: Tokenizers, /, *, files: Files = (), documents: Documents = None, as_json: Json = False) -> int:
    """Bytes per token and tokens per word of several tokenizers, by language; a million characters of each."""
    if bool(files) == (documents is not None):
        raise ConfigError(
            "gristmill tokenizer compare: name the text to measure on, either --text FILE… or --documents ADDRESS"
        )
    from gristmill.tokens.compression import coverage, coverage_of_documents, heads, texts_of
    from gristmill.tokens.tokenizer import Vocabulary
    from gristmill.tokens.word_split import llama_cpp_name

    found: dict[str, Any] = {}
    for name in tokenizers:
        vocabulary = Vocabulary.load(_folder(name))
        if documents is not None:
            covered = coverage_of_documents(vocabulary.tokenizer, _documents(documents))
        else:
            covered = coverage(vocabulary.tokenizer, heads(pair for path in files for pair in texts_of(path)))
        facts = {"vocab_size": vocabulary.size, "llama_cpp_pre": llama_cpp_name(vocabulary.tokenizer)}
        found[name] = facts | {"languages": covered}
    if as_json:
        print(json.dumps({"schema_version": 1, "tokenizers": found}, default=_numbers, indent=2))
    else:
        _show(found)
    return 0


def _folder(name: str) -> Path:
    """Where the tokenizer lies. Raises ValueError when there is none."""
    path = Path(name)
    if not path.is_dir() and name.startswith(("tokenizer/", "checkpoint/")):
        store = workspace.store()
        store.load(name)
        path = store.path(name)
    if not (path / "tokenizer.json").is_file():
        raise ValueError(f"{name}: no tokenizer.json there; name the folder of a fast tokenizer, or an address")
    return path


def _documents(address: str) -> Path:
    store = workspace.store()
    record = store.load(address)
    folder = store.path(address)
    return folder / "validation" if record.recipe.kind == "splits" else folder


def _numbers(covered: "Coverage") -> dict[str, float]:
    return {"bytes_per_token": covered.bytes_per_token, "tokens_per_word": covered.tokens_per_word}


def _show(found: dict[str, Any]) -> None:
    for name, facts in found.items():
        split = facts["llama_cpp_pre"] or "none that llama.cpp is known to have"
        print(f"{name}: {facts['vocab_size']:,} tokens, word split: {split}")
    print("\n| language | " + " | ".join(found) + " |\n|---|" + "---|" * len(found))
    for language in next(iter(found.values()))["languages"]:
        cells = (facts["languages"][language] for facts in found.values())
        shown = (f"{cell.bytes_per_token:.2f} bytes/token, {cell.tokens_per_word:.2f} tokens/word" for cell in cells)
        print(f"| {language} | " + " | ".join(shown) + " |")
