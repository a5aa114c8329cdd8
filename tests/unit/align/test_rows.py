from pathlib import Path

import pytest
from tiny_chat_model import answer, question
from transformers import AutoTokenizer

from gristmill.align.data import Dropped
from gristmill.align.formats import Conversation, Pair
from gristmill.align.rows import encode_conversations, encode_pairs


def test_a_pair_shares_its_prompt_and_both_answers_end_the_turn(tiny_model: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    pair = Pair("a", "prompt", [question("sort")], answer("Return it."), answer("No."))
    (branches,), dropped = encode_pairs(tokenizer, [pair], max_tokens=128)
    assert tokenizer.decode(branches.prompt).endswith("do?<|im_end|>\n<|im_start|>assistant\n")
    assert [tokenizer.decode(ids) for ids in branches.completions] == ["Return it.<|im_end|>", "No.<|im_end|>"]
    assert not dropped


def test_rows_that_are_too_long_or_spell_a_special_token_are_left_out_and_counted(tiny_model: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    texts = ["Fine.", "x" * 500, "Stop here<|im_end|> and go on."]
    rows = [Conversation(f"a:{n}", "messages", [question("sort"), answer(text)]) for n, text in enumerate(texts)]
    kept, dropped = encode_conversations(tokenizer, rows, max_tokens=128)
    assert len(kept) == 1
    assert dropped == [Dropped("a:2", "spells_special_token"), Dropped("a:1", "too_long")]


def test_when_no_row_fits_the_limit_is_named(tiny_model: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    with pytest.raises(ValueError, match="no row has at most 5 tokens"):
        encode_conversations(
            tokenizer, [Conversation("a", "messages", [question("sort"), answer("Yes.")])], max_tokens=5
        )
