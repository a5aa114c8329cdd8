"""Extended tokenizers: other scripts keep their tokens, every new token is used, and text comes back as it was."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from gristmill.errors import SourceUnavailable
from gristmill.tokens.config import ExtendedTokenizer
from gristmill.tokens.extend import Extension, extend_tokenizer
from gristmill.tokens.scripts import Scripts
from gristmill.tokens.tokenizer import Vocabulary, run_train_tokenizer, token_bytes
from gristmill.tokens.word_split import QWEN2_SPLIT

ENGLISH = ["the quick brown fox jumps over the lazy dog, they say; nothing is there that other ones think of"] * 5
NEW = 60


def ukrainian(seed: int, texts: int = 60) -> list[str]:
    """Words of Cyrillic syllables, some with an apostrophe, a Latin letter or punctuation."""
    draws = random.Random(seed)
    syllables = [a + b for a in "бвгджзклмнпрстхц" for b in "аеиоуіїєя"]
    lexicon = ["".join(draws.choices(syllables, k=draws.randint(1, 4))) for _ in range(150)] + [
        "об’єкт",
        "word",
        "(ні)",
    ]
    return [" ".join(draws.choices(lexicon, k=30)).capitalize() + "." for _ in range(texts)]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """Trained on English; two special tokens stand beside the vocabulary, as Qwen's do, one at its beginning."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(ENGLISH, trainer)
    tokenizer.add_special_tokens([AddedToken("<|im_end|>", special=True), AddedToken("<tool>", special=True)])
    folder = tmp_path_factory.mktemp("base")
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def extension(base: Path) -> Extension:
    return extend_tokenizer(base, ukrainian(0), scripts=("Cyrillic",), new_tokens=NEW)


@pytest.fixture(scope="module")
def before(base: Path) -> Tokenizer:
    return Tokenizer.from_file(str(base / "tokenizer.json"))


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


def test_all_ids_stay_and_new_ones_follow(before, extension):
    old, new = before.get_vocab(with_added_tokens=True), extension.tokenizer.get_vocab(with_added_tokens=True)
    assert {name: new[name] for name in old} == old
    assert before.token_to_id("<tool>") == 301  # beside the vocabulary of 300
    assert sorted(set(new.values()) - set(old.values())) == list(range(302, 302 + NEW))
    assert extension.vocab_size == len(new) == 302 + NEW


def test_every_character_of_another_script_keeps_its_tokens(before, extension):
    cyrillic = Scripts(("Cyrillic",)).characters
    others = [chr(code) for code in range(0xFFFF) if not 0xD800 <= code < 0xE000 and chr(code) not in cyrillic]
    assert len(others) > 60_000
    for start in range(0, len(others), 500):
        text = " ".join(others[start : start + 500])
        assert ids(extension.tokenizer, text) == ids(before, text)


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back_and_is_unchanged_without_cyrillic(before, extension, text):
    assert extension.tokenizer.decode(ids(extension.tokenizer, text), skip_special_tokens=False) == text
    if not any(0x400 <= ord(character) < 0x530 for character in text):
        assert ids(extension.tokenizer, text) == ids(before, text)


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.sampled_from("абвгджзиіїєя ’'.,1aeth\n(Ж-ꙀԱ")))
def test_mixed_text_comes_back_and_its_other_words_are_unchanged(before, extension, text):
    assert extension.tokenizer.decode(ids(extension.tokenizer, text)) == text
    words, _ = zip(*before.pre_tokenizer.pre_tokenize_str(text), strict=True) if text else ((), ())
    for word in words:
        if not {"Ð", "Ñ", "Ò", "Ó", "Ô", "ê"} & set(word):
            cut = [token.id for token in before.model.tokenize(word)]
            assert [token.id for token in extension.tokenizer.model.tokenize(word)] == cut


def test_every_new_token_is_in_the_training_text_and_no_step_on_the_way(extension):
    used = {token for text in ukrainian(0) for token in ids(extension.tokenizer, text)}
    assert set(range(302, 302 + NEW)) <= used


def test_words_of_the_script_get_shorter_as_reported(before, extension):
    letters = pre_tokenizers.Split(Regex(r" ?\p{Cyrillic}+"), behavior="isolated")
    tokens, words = {"before": 0, "after": 0}, 0
    for text in ukrainian(0):
        for piece, (start, end) in before.pre_tokenizer.pre_tokenize_str(text):
            word = text[start:end]
            if [part for part, _ in letters.pre_tokenize_str(word)] == [word] and any(
                "а" <= c <= "ї" for c in word.lower()
            ):
                words += 1
                tokens["before"] += len(before.model.tokenize(piece))
                tokens["after"] += len(extension.tokenizer.model.tokenize(piece))
    assert words == extension.words
    assert tokens["before"] / words == pytest.approx(extension.tokens_per_word_before)
    assert tokens["after"] / words == pytest.approx(extension.tokens_per_word)
    assert extension.tokens_per_word < extension.tokens_per_word_before / 2


def test_the_order_of_the_texts_does_not_matter(base, extension):
    again = extend_tokenizer(base, ukrainian(0)[::-1], scripts=("Cyrillic",), new_tokens=NEW)
    assert again.tokenizer.to_str() == extension.tokenizer.to_str()


def test_appending_another_vocabulary_changes_english(base, before):
    """What extension avoids: merges learned on their own, appended, fire in English too."""
    alone = Tokenizer(models.BPE())
    alone.pre_tokenizer = before.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    alone.train_from_iterator(
        [f"{text} {word}" for text in ukrainian(0) for word in ("foxes", "dogs", "thinker")], trainer
    )
    state, other = json.loads(before.to_str()), json.loads(alone.to_str())
    new = [pair for pair in other["model"]["merges"] if "".join(pair) not in state["model"]["vocab"]]
    state["model"]["vocab"].update({"".join(pair): 302 + number for number, pair in enumerate(new)})
    state["model"]["merges"] += new
    appended = Tokenizer.from_str(json.dumps(state))
    assert ids(appended, "foxes, dogs, thinker") != ids(before, "foxes, dogs, thinker")


def test_a_normalizer_stays_and_words_are_learned_as_it_leaves_them(base, before, tmp_path):
    state = json.loads(before.to_str()) | {"normalizer": {"type": "NFC"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    texts = ["и\u0306ого " * 10] * 5  # й, decomposed
    made = extend_tokenizer(tmp_path, texts, scripts=("Cyrillic",), new_tokens=4)
    assert isinstance(made.tokenizer.normalizer, normalizers.NFC)
    assert len(ids(made.tokenizer, "його")) < len(ids(before, "його"))


def test_a_vocabulary_that_is_asked_for_whole_words_first_is_extended_too(base, before, tmp_path):
    """Llama 3's way (`ignore_merges`): a word that is in the vocabulary is a token, whether merges reach it or not."""
    state = json.loads(before.to_str())
    word, *others = dict.fromkeys(ukrainian(0)[0].split()[1:9])
    spelled = before.pre_tokenizer.pre_tokenize_str(f" {word}")[0][0]
    # no merge makes it; the special tokens beside the vocabulary are written into it, or they would move
    state["model"]["vocab"] |= {"<|im_end|>": 300, "<tool>": 301, spelled: 302}
    state["model"]["ignore_merges"] = True
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    made = extend_tokenizer(tmp_path, [*ukrainian(0), f"{word} {word}ся " * 50], scripts=("Cyrillic",), new_tokens=NEW)
    text = f"і {word} {' '.join(others)} {word}ся"
    assert 302 in ids(made.tokenizer, text)
    assert made.tokenizer.decode(ids(made.tokenizer, text)) == text
    assert made.vocab_size == 303 + NEW


def test_too_little_text_says_how_many_tokens_it_allows(base):
    with pytest.raises(
        ValueError, match=r"new_tokens=60, but 2 different words in Cyrillic allow only (\d+);"
    ) as error:
        extend_tokenizer(base, ["кава кава"], scripts=("Cyrillic",), new_tokens=60)
    allowed = int(str(error.value).split("allow only ")[1].split(";")[0])
    assert extend_tokenizer(base, ["кава кава"], scripts=("Cyrillic",), new_tokens=allowed).words == 2


def test_a_vocabulary_that_does_not_spell_bytes_is_refused(tmp_path):
    tokenizer = Tokenizer(models.BPE({"<unk>": 0, "a": 1}, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match="BPE with byte_fallback; only byte-level BPE"):
        extend_tokenizer(tmp_path, [], scripts=("Cyrillic",), new_tokens=1)
    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match="WordLevel, byte-level: False; only byte-level BPE"):
        extend_tokenizer(tmp_path, [], scripts=("Cyrillic",), new_tokens=1)


@pytest.fixture
def stage(base, write_documents, tmp_path) -> tuple[Path, ExtendedTokenizer]:
    write_documents("splits/train", [{"text": text, "language": "uk"} for text in ukrainian(0)], shards=2)
    write_documents("splits/validation", [{"text": text, "language": "uk"} for text in ukrainian(1, 5)])
    (tmp_path / "out").mkdir()
    return tmp_path, ExtendedTokenizer(path=str(base), scripts=("Cyrillic",), new_tokens=NEW)


def test_the_stage_leaves_a_tokenizer_that_transformers_reads(stage, extension, base):
    from transformers import AutoTokenizer

    folder, config = stage
    report = run_train_tokenizer(folder / "splits", folder / "out", config)
    assert report.rows_out == extension.vocab_size
    assert report.details["base_vocab_size"] == 302
    assert report.details["llama_cpp_pre"] == "qwen2"
    held_out = ukrainian(1, 5)
    tokens = sum(len(ids(extension.tokenizer, text)) for text in held_out)
    assert report.details["tokens_per_word"]["uk"] == pytest.approx(tokens / sum(len(t.split()) for t in held_out))
    assert (folder / "out/tokenizer_config.json").read_bytes() == (base / "tokenizer_config.json").read_bytes()
    loaded = AutoTokenizer.from_pretrained(folder / "out")
    assert len(loaded) == extension.vocab_size
    assert (loaded.eos_token_id, loaded.convert_tokens_to_ids("<tool>")) == (300, 301)
    text = ukrainian(2)[0] + " and English"
    assert loaded(text, add_special_tokens=False).input_ids == ids(extension.tokenizer, text)
    vocabulary = Vocabulary.load(folder / "out")
    sizes = token_bytes(vocabulary.tokenizer, vocabulary.size)
    assert sum(sizes[token] for token in ids(vocabulary.tokenizer, text)) == len(text.encode())


def test_an_extended_tokenizer_stands_for_its_bases_files(stage, base, tmp_path):
    _, config = stage
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in base.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    assert config.model_copy(update={"path": str(copy)}).identity() == config.identity()
    assert config.model_copy(update={"new_tokens": 7}).identity() != config.identity()
    (copy / "tokenizer.json").unlink()
    with pytest.raises(SourceUnavailable, match=r"no tokenizer.json in"):
        config.model_copy(update={"path": str(copy)}).identity()
