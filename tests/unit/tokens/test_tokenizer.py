"""The stage `train_tokenizer`: what transformers reads, and what text can never say."""

import json

import pytest
from pydantic import ValidationError
from tokenizers import Tokenizer, decoders, models

from gristmill.errors import SourceUnavailable
from gristmill.tokens.config import ExistingTokenizer, TrainedTokenizer
from gristmill.tokens.tokenizer import Vocabulary, run_train_tokenizer, token_bytes

SAMPLE = {"max_chars": 100_000_000, "seed": 0}
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Two?"},
    {"role": "assistant", "content": "2"},
    {"role": "user", "content": "Three?"},
    {"role": "assistant", "content": "It is 3"},
]


def test_transformers_reads_the_folder(trained, odd_texts):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(trained[0])
    assert len(tokenizer) == 400
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<|endoftext|>", "<|im_end|>", "<|pad|>")
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3
    for text in odd_texts:
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_a_conversation_begins_like_a_document_and_marks_what_the_assistant_says(trained):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(trained[0])
    assert tokenizer.apply_chat_template(CHAT[:2], tokenize=False, add_generation_prompt=True) == (
        "<|endoftext|><|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nTwo?<|im_end|>\n<|im_start|>assistant\n"
    )
    whole = tokenizer.apply_chat_template(CHAT, return_dict=True, return_assistant_tokens_mask=True)
    said = [token for token, mine in zip(whole["input_ids"], whole["assistant_masks"], strict=True) if mine]
    assert tokenizer.decode(said) == "2<|im_end|>It is 3<|im_end|>"


def test_a_mask_token_is_a_fifth_special_one_where_it_is_asked_for(splits, trained, tmp_path):
    from transformers import AutoTokenizer

    (tmp_path / "masked").mkdir()
    run_train_tokenizer(splits, tmp_path / "masked", TrainedTokenizer(vocab_size=400, mask_token=True))
    assert Vocabulary.load(tmp_path / "masked").mask_id == 4
    assert AutoTokenizer.from_pretrained(tmp_path / "masked").mask_token == "<|mask|>"
    assert Vocabulary.load(tmp_path / "masked").tokenizer.encode("<|mask|>").ids != [4], "in a text it is text"
    assert Vocabulary.load(trained[0]).mask_id is None


def test_a_vocabulary_too_small_for_bytes_and_special_tokens_is_refused():
    assert TrainedTokenizer(vocab_size=260).identity() == {"kind": "bpe", "vocab_size": 260, **SAMPLE}
    assert TrainedTokenizer(vocab_size=261, mask_token=True).identity()["mask_token"]
    with pytest.raises(ValidationError, match="vocab_size=260: the 256 bytes and the special tokens alone are 261"):
        TrainedTokenizer(vocab_size=260, mask_token=True)


def test_special_tokens_written_in_a_text_are_text(trained, odd_texts):
    vocabulary = Vocabulary.load(trained[0])
    for text in odd_texts:
        ids = vocabulary.tokenizer.encode(text, add_special_tokens=False).ids
        assert min(ids) >= 4
        assert vocabulary.tokenizer.decode(ids) == text


def test_the_bytes_of_the_tokens_add_up_to_those_of_the_text(trained, odd_texts):
    vocabulary = Vocabulary.load(trained[0])
    sizes = token_bytes(vocabulary.tokenizer, vocabulary.size)
    assert sizes[:4] == [0, 0, 0, 0]
    assert min(sizes[4:]) == 1
    for text in odd_texts:
        ids = vocabulary.tokenizer.encode(text, add_special_tokens=False).ids
        assert sum(sizes[token] for token in ids) == len(text.encode())


def test_tokens_of_sentencepiece_vocabularies_have_bytes_too():
    vocab = {"<unk>": 0, "<0x0A>": 1, "▁the": 2, "é": 3}
    tokenizer = Tokenizer(models.BPE(vocab, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(["<unk>"])
    assert token_bytes(tokenizer, 5) == [0, 1, 4, 2, 0]


def test_the_same_text_gives_the_same_bytes(splits, trained, tmp_path):
    (tmp_path / "again").mkdir()
    run_train_tokenizer(splits, tmp_path / "again", TrainedTokenizer(vocab_size=400))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (trained[0] / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_vocabulary_larger_than_the_text_allows_names_the_largest(splits, trained, tmp_path):
    with pytest.raises(ValueError, match=r"allows only (\d+) tokens, not train_tokenizer.vocab_size=90000") as error:
        run_train_tokenizer(splits, tmp_path, TrainedTokenizer(vocab_size=90_000))
    allowed = int(str(error.value).split("allows only ")[1].split()[0])
    (tmp_path / "largest").mkdir()
    report = run_train_tokenizer(splits, tmp_path / "largest", TrainedTokenizer(vocab_size=allowed))
    assert report.rows_out == allowed


def test_training_on_a_part_reads_about_that_much(splits, tmp_path):
    whole = sum(path.stat().st_size for path in (splits / "train").iterdir())
    assert whole > 0
    reports = []
    for number, max_chars in enumerate((None, 40_000)):
        (tmp_path / str(number)).mkdir()
        config = TrainedTokenizer(vocab_size=400, max_chars=max_chars)
        reports.append(run_train_tokenizer(splits, tmp_path / str(number), config))
    assert reports[1].details["documents_read"] < 0.7 * reports[0].details["documents_read"]


def test_bytes_per_token_are_measured_by_language_on_the_validation_split(splits, trained):
    measured = trained[1].details["bytes_per_token"]
    assert set(measured) == {"en"}
    assert measured["en"] == trained[1].metrics["bytes_per_token"]
    assert 1 < measured["en"] < 4


def test_an_existing_tokenizer_is_copied_and_stands_for_its_files(splits, trained, tmp_path):
    (tmp_path / "out").mkdir()
    config = ExistingTokenizer(path=str(trained[0]))
    run_train_tokenizer(splits, tmp_path / "out", config)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {
        path.name: path.read_bytes() for path in trained[0].iterdir()
    }
    assert ExistingTokenizer(path=str(tmp_path / "out")).identity() == config.identity()
    with pytest.raises(SourceUnavailable, match=r"no tokenizer.json in nowhere"):
        ExistingTokenizer(path="nowhere").identity()


def test_a_tokenizer_without_document_start_and_padding_uses_its_end(trained):
    settings = json.loads((trained[0] / "tokenizer_config.json").read_text())
    bare = {"eos_token": {"content": "<|im_end|>"}, "tokenizer_class": settings["tokenizer_class"]}
    (trained[0] / "tokenizer_config.json").write_text(json.dumps(bare))
    text = (trained[0] / "tokenizer.json").read_text().replace("<|endoftext|>", "<|other|>")
    (trained[0] / "tokenizer.json").write_text(text)
    vocabulary = Vocabulary.load(trained[0])
    assert vocabulary.bos_id == vocabulary.pad_id == vocabulary.eos_id == 3
