from pathlib import Path

import pytest
from tiny_chat_model import CHAT_TEMPLATE, answer, question
from transformers import AutoTokenizer

from gristmill.evaluate.chat_format import check_template, encode_chats, encode_prompts, end_of_turn


def test_only_what_the_assistant_says_is_learned_and_the_end_of_its_turn(tiny_model: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    messages = [question("sort"), answer("Return it."), question("join"), answer("No.")]
    (chat,) = encode_chats(tokenizer, [messages])
    marked = "".join(
        f"[{tokenizer.decode([token])}]" if learned else tokenizer.decode([token])
        for token, learned in zip(chat.ids, chat.learned, strict=True)
    )
    assert marked.replace("][", "") == (
        "<|endoftext|><|im_start|>user\nWhat does `list.sort` do?<|im_end|>\n"
        "<|im_start|>assistant\n[Return it.<|im_end|>]\n"
        "<|im_start|>user\nWhat does `list.join` do?<|im_end|>\n"
        "<|im_start|>assistant\n[No.<|im_end|>]\n"
    )


def test_each_turn_of_the_assistant_follows_the_prompt_it_will_see_when_asked(tiny_model: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    messages = [question("sort"), answer("Return it."), question("join"), answer("No.")]
    (chat,) = encode_chats(tokenizer, [messages])
    prompts = encode_prompts(tokenizer, [messages[:1], messages[:3]])
    assert [list(turn.prompt) for turn in chat.branches()] == prompts


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        (CHAT_TEMPLATE.replace("{%- generation %}", "").replace("{%- endgeneration %}", ""), "marks no token"),
        (
            CHAT_TEMPLATE.replace(
                "{{- message.content + '<|im_end|>' }}{%- endgeneration %}",
                "{{- message.content }}{%- endgeneration %}{{- '<|im_end|>' }}",
            ),
            "never learn to stop",
        ),
        (None, "no chat template"),
    ],
)
def test_a_template_nothing_can_be_learned_from_is_refused(tiny_model: Path, template: str | None, complaint: str):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = template
    with pytest.raises(ValueError, match=complaint):
        check_template(tokenizer)


def test_a_turn_ends_with_its_own_token(tiny_model: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    assert tokenizer.convert_ids_to_tokens(end_of_turn(tokenizer)) == ["<|im_end|>"]
