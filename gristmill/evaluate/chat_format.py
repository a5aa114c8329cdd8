"""Conversations as token ids, by the chat template of the model's tokenizer.

What the assistant says stands between the template's `{% generation %}` and `{% endgeneration %}`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from gristmill.evaluate.branches import Branches

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

ROLES = ("system", "user", "assistant")

Message = dict[str, str]


@dataclass(frozen=True)
class ChatTokens:
    """Token ids of one conversation; `learned` marks what the assistant says, the end of its turn included."""

    ids: list[int]
    learned: list[bool]

    def answers(self) -> list[tuple[int, int]]:
        """(start, stop) of each of the assistant's turns."""
        turns, start = [], 0
        for learned, run in groupby(self.learned):
            stop = start + len(list(run))
            turns += [(start, stop)] if learned else []
            start = stop
        return turns

    def branches(self) -> list[Branches]:
        """Each of the assistant's turns after all that came before it."""
        return [Branches(self.ids[:start], [self.ids[start:stop]]) for start, stop in self.answers()]


def encode_chats(tokenizer: "Tokenizer", chats: Sequence[list[Message]]) -> list[ChatTokens]:
    """Whole conversations. Raises ValueError for a template that does not mark what the assistant says."""
    check_template(tokenizer)
    return _encode(tokenizer, chats)


def printed(tokenizer: "Tokenizer", chat: ChatTokens) -> str:
    """A conversation token by token: learned ones stand between ⟦ and ⟧, `|` between two others, ⏎ for a line break."""
    text, inside = "", False
    for token, learned in zip(chat.ids, chat.learned, strict=True):
        text += ("⟧" if inside and not learned else "") + ("⟦" if learned and not inside else "|")
        text += str(tokenizer.decode([token])).replace("\n", "⏎")
        inside = learned
    return text.removeprefix("|") + ("⟧" if inside else "")


def encode_prompts(tokenizer: "Tokenizer", prompts: Sequence[list[Message]]) -> list[list[int]]:
    """Token ids up to where the assistant begins to speak."""
    check_template(tokenizer)
    if not prompts:
        return []
    encoded: Any = tokenizer.apply_chat_template(
        list(prompts), tokenize=True, add_generation_prompt=True, return_dict=True
    )
    return encoded["input_ids"]


def spell_special_tokens(tokenizer: "Tokenizer", chats: Iterable[Sequence[Message]]) -> list[bool]:
    """Whether any message of a conversation spells a special token, which would end its turn from within."""
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    special |= set(tokenizer.all_special_tokens)
    return [any(token in message["content"] for message in chat for token in special) for chat in chats]


def end_of_turn(tokenizer: "Tokenizer") -> list[int]:
    """The special tokens that end an assistant's turn, as the template writes them; none where it does not say."""
    probe = _probe(tokenizer)
    if not probe.answers():
        return []
    start, stop = probe.answers()[-1]
    return [token for token in probe.ids[start:stop] if token in tokenizer.all_special_ids]


def check_template(tokenizer: "Tokenizer") -> None:
    """Raises ValueError when the chat template is missing, or does not mark the assistant's words and their end."""
    if tokenizer.chat_template is None:
        raise ValueError(
            "the tokenizer has no chat template; add chat_template.jinja with `{% generation %}` markers to its folder"
        )
    if not _probe(tokenizer).answers():
        raise ValueError(
            "the chat template marks no token as the assistant's, so nothing could be learned; put `{% generation %}` "
            "and `{% endgeneration %}` around the assistant's content and the end of its turn"
        )
    if not end_of_turn(tokenizer):
        raise ValueError(
            "the chat template leaves the end of the assistant's turn outside `{% generation %}`, so a model would "
            "never learn to stop; move `{% endgeneration %}` behind the token that ends the turn"
        )


def _probe(tokenizer: "Tokenizer") -> ChatTokens:
    return _encode(tokenizer, [[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]])[0]


def _encode(tokenizer: "Tokenizer", chats: Sequence[list[Message]]) -> list[ChatTokens]:
    if not chats:
        return []
    encoded: Any = tokenizer.apply_chat_template(
        list(chats), tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    return [
        ChatTokens(ids, [bool(mark) for mark in marks])
        for ids, marks in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)
    ]
