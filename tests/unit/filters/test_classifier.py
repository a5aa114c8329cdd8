import re
import time

import pytest

from gristmill.filters.classifier import TASKS, Classifier, check_model, evenly_spaced, normalized_words, plain_tokens
from gristmill.filters.classifier_config import MODELS
from gristmill.filters.classifier_evaluation import group_sentences
from gristmill.fingerprint import file_sha256

MODEL, CARD = MODELS / "toxicity.en.ftz", MODELS / "toxicity.en.card.md"
TOXICITY = TASKS["toxicity"]
WORDS = TOXICITY.passage_words or 0


@pytest.fixture(scope="module")
def shipped() -> Classifier:
    return Classifier.load(MODEL, TOXICITY)


def test_the_shipped_model_ranks_insults_above_harmless_sentences(shipped):
    insults = ["You are a stupid idiot and nobody likes you.", "shut the f*ck up you pathetic moron"]
    harmless = ["The weather was pleasant and we walked along the river.", "Thank you for your help with the article."]
    assert min(map(shipped.score, insults)) > 0.9 > 0.5 > max(map(shipped.score, harmless))


def test_documentation_about_killing_processes_is_harmless(shipped):
    page = """Terminate the worker processes of the pool. On POSIX this sends SIGKILL to each child; a parent that does
    not wait leaves zombies. Aborting a transaction kills the session and dumps the stack of the master and its slaves.
    The function returns True when the process was still alive, else False. See also: Process.kill, Process.join."""
    assert shipped.score(page) < 0.5


def test_the_score_of_a_page_is_the_mean_of_its_passages(shipped):
    harmless, toxic = " ".join(["river"] * WORDS), " ".join(["idiot"] * WORDS)
    scores = [shipped.score(harmless), shipped.score(toxic)]
    assert shipped.score(f"{harmless} {toxic}") == pytest.approx(sum(scores) / 2)


@pytest.mark.parametrize("text", ["", "\n \t", "!!! 123 …", "\x00\ud800\udfff", "__label__toxic", "a" * 100_000])
def test_hostile_texts_have_a_score_between_0_and_1(shipped, text):
    assert 0 <= shipped.score(text) <= 1
    assert shipped.label(text)[0] in ("toxic", "harmless", None)


def test_passages_hold_all_words_in_equal_parts():
    text = " ".join(f"w{'x' * (n % 7)}" for n in range(2 * WORDS + 1))
    passages = TOXICITY.passages(text)
    assert " ".join(passages) == text
    assert [len(passage.split()) for passage in passages] == [33, 34, 34]


def test_words_are_folded_and_addresses_left_out():
    assert normalized_words("RT @bob: Don&#39;t see https://x.y/z?q 3 SH*T #tag") == ["don't", "see", "sh*t"]


def test_a_page_cannot_speak_to_fasttext_in_its_own_marks():
    assert plain_tokens("a\n__label__hq b</s>c\0d \ud800e") == ["a", "label", "hq", "b", "c", "d", "e"]
    assert TASKS["quality"].passages("Two\n\nparagraphs,  kept.") == ["Two paragraphs, kept."]


def test_a_long_page_is_judged_by_stretches_from_its_beginning_to_its_end(shipped):
    assert evenly_spaced("short page", 100) == "short page"
    numbered = " ".join(f"{number:05d}" for number in range(10_000))
    seen = [int(word) for word in evenly_spaced(numbered, 3000).split() if len(word) == 5]
    assert seen[0] == 0
    assert seen[-1] == 9999
    assert len(seen) == pytest.approx(3000 / 6, abs=8)
    assert [any(third * 3300 <= word < (third + 1) * 3300 for word in seen) for third in range(3)] == [True] * 3
    rant = "you stupid worthless idiot. " * 4000
    assert shipped.score("The river is calm. " * 6000 + rant) == pytest.approx(0.5, abs=0.2)
    begun = time.process_time()
    shipped.score("The river is calm today. " * 400_000)  # 10 MB
    assert time.process_time() - begun < 0.1


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "page.ftz").write_text("<html>")
    with pytest.raises(ValueError, match=r"page\.ftz is no fastText model"):
        Classifier.load(tmp_path / "page.ftz", TOXICITY)


@pytest.mark.parametrize("size", [100, 5000])
def test_a_damaged_model_is_refused_whatever_it_does_to_the_process_that_reads_it(tmp_path, size):
    damaged = bytearray(MODEL.read_bytes()[:size])
    damaged[40:60] = b"\xff" * 20  # sizes
    (tmp_path / "damaged.ftz").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"damaged\.ftz is no fastText model .*; make one with `gristmill classifier"):
        check_model(tmp_path / "damaged.ftz", TOXICITY)


def test_a_model_of_another_task_is_refused():
    check_model(MODEL, TOXICITY)
    with pytest.raises(ValueError, match=r"knows the labels __label__\w+, __label__\w+ and not __label__cc and __la"):
        Classifier.load(MODEL, TASKS["quality"])


def test_harmless_sentences_name_twenty_groups_in_each_language():
    for language in ("en", "de", "ru", "uk"):
        sentences = [row.text for row in group_sentences(language)]
        assert len(set(sentences)) == 200
        assert not [text for text in sentences if "{" in text or text[0].islower() or not text.endswith(".")]
    assert list(group_sentences("xx")) == []


def test_the_card_is_of_the_shipped_model_and_states_its_scores():
    card = CARD.read_text(encoding="utf-8")
    assert file_sha256(MODEL) in card
    for source in ("davidson", "toxic_spans_civilcomments", "wikipedia_comments", "documentation", "c4_sample"):
        assert re.search(rf"^\| {source} \|( [\d.,–() ]+ \|){{7}}$", card, re.MULTILINE), source
    assert all(word in card for word in ("MIT", "CC0", "Apache-2.0", "gristmill classifier train --task toxicity"))
