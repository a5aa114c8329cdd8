"""Rows and pairs as token ids, without those that do not fit or spell special tokens."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from gristmill.align.data import Conversation, Pair
from gristmill.evaluate.branches import Branches
from gristmill.evaluate.chat_format import ChatTokens, Message, encode_chats

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

T = TypeVar("T")


def encode_conversations(
    tokenizer: "Tokenizer", rows: Sequence[Conversation], *, max_tokens: int
) -> tuple[list[ChatTokens], Counter[str]]:
    """Rows that fit, and how many were left out, by reason.

    Raises ValueError when the tokenizer's template does not mark the assistant's words and the end of its turn, or when
    no row fits.
    """
    control = tokenizer.all_special_tokens
    clean = [row.messages for row in rows if not _spells_any(control, row.messages)]
    encoded = encode_chats(tokenizer, clean)
    fitting = [chat for chat in encoded if len(chat.ids) <= max_tokens]
    return _some(fitting, max_tokens), _dropped(len(rows), len(clean), len(fitting))


def encode_pairs(
    tokenizer: "Tokenizer", pairs: Sequence[Pair], *, max_tokens: int
) -> tuple[list[Branches], Counter[str]]:
    """For each pair that fits its prompt with two completions, chosen and rejected, each with the end of the turn."""
    control = tokenizer.all_special_tokens
    clean = [pair for pair in pairs if not _spells_any(control, [*pair.prompt, pair.chosen, pair.rejected])]
    chats = encode_chats(
        tokenizer, [[*pair.prompt, answer] for pair in clean for answer in (pair.chosen, pair.rejected)]
    )
    fitting = []
    for chosen, rejected in zip(chats[::2], chats[1::2], strict=True):
        (start, stop), (_, rejected_stop) = chosen.answers()[-1], rejected.answers()[-1]
        assert chosen.ids[:start] == rejected.ids[:start], "the prompt's tokens depend on the answer"
        if max(stop, rejected_stop) <= max_tokens:
            fitting.append(Branches(chosen.ids[:start], [chosen.ids[start:stop], rejected.ids[start:rejected_stop]]))
    return _some(fitting, max_tokens), _dropped(len(pairs), len(clean), len(fitting))


def _spells_any(control: Sequence[str], messages: Sequence[Message]) -> bool:
    # a message that spells a special token would end its turn from within
    return any(token in message["content"] for message in messages for token in control)


def _some(fitting: list[T], max_tokens: int) -> list[T]:
    if not fitting:
        raise ValueError(
            f"no row has at most {max_tokens} tokens; shorten the rows, or raise max_tokens or the context"
        )
    return fitting


def _dropped(rows: int, clean: int, fitting: int) -> Counter[str]:
    return +Counter({"spells_special_token": rows - clean, "too_long": clean - fitting})
