"""Rows and pairs as token ids, without those that do not fit or spell special tokens."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from gristmill.align.data import Dropped
from gristmill.align.formats import Conversation, Labelled, LabelledText, Pair
from gristmill.evaluate.branches import Branches
from gristmill.evaluate.chat_format import ChatTokens, Message, encode_chats, spell_special_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

T = TypeVar("T")
R = TypeVar("R", Conversation, Pair, Labelled)
AnyRow = Conversation | Pair | Labelled | LabelledText

TOO_LONG = "too_long"
SPELLS_SPECIAL_TOKEN = "spells_special_token"


def encode_conversations(
    tokenizer: "Tokenizer", rows: Sequence[Conversation], *, max_tokens: int, held_out: bool = False
) -> tuple[list[ChatTokens], list[Dropped]]:
    """Rows that fit, and those left out. held_out: they measure.

    Raises ValueError when the tokenizer's template does not mark the assistant's words and the end of its turn, or when
    too few rows fit: none to train on, or fewer than two that measure.
    """
    clean, dropped = _without_special_tokens(tokenizer, rows, lambda row: row.messages)
    fitting = []
    for row, chat in zip(clean, encode_chats(tokenizer, [row.messages for row in clean]), strict=True):
        if len(chat.ids) <= max_tokens:
            fitting.append(chat)
        else:
            dropped.append(Dropped(row.row, TOO_LONG))
    return enough(fitting, rows, max_tokens, held_out=held_out), dropped


def encode_pairs(
    tokenizer: "Tokenizer", pairs: Sequence[Pair], *, max_tokens: int, held_out: bool = False
) -> tuple[list[Branches], list[Dropped]]:
    """For each pair that fits its prompt with two completions, chosen and rejected, each with the end of the turn."""
    clean, dropped = _without_special_tokens(tokenizer, pairs, lambda pair: [*pair.prompt, pair.chosen, pair.rejected])
    chats = encode_chats(
        tokenizer, [[*pair.prompt, answer] for pair in clean for answer in (pair.chosen, pair.rejected)]
    )
    fitting = []
    for pair, chosen, rejected in zip(clean, chats[::2], chats[1::2], strict=True):
        (start, stop), (_, rejected_stop) = chosen.answers()[-1], rejected.answers()[-1]
        assert chosen.ids[:start] == rejected.ids[:start], "the prompt's tokens depend on the answer"
        if max(stop, rejected_stop) <= max_tokens:
            answers = [chosen.ids[start:stop], rejected.ids[start:rejected_stop]]
            fitting.append(Branches(chosen.ids[:start], answers, pair.fault, pair.row))
        else:
            dropped.append(Dropped(pair.row, TOO_LONG))
    return enough(fitting, pairs, max_tokens, held_out=held_out), dropped


def encode_labelled(
    tokenizer: "Tokenizer", rows: Sequence[Labelled], *, max_tokens: int, held_out: bool = False
) -> tuple[list[tuple[Branches, bool]], list[Dropped]]:
    """For each answer that fits its prompt with one completion, and whether it is desirable."""
    clean, dropped = _without_special_tokens(tokenizer, rows, lambda row: [*row.prompt, row.completion])
    fitting = []
    for row, chat in zip(clean, encode_chats(tokenizer, [[*row.prompt, row.completion] for row in clean]), strict=True):
        start, stop = chat.answers()[-1]
        if stop <= max_tokens:
            fitting.append((Branches(chat.ids[:start], [chat.ids[start:stop]]), row.desirable))
        else:
            dropped.append(Dropped(row.row, TOO_LONG))
    return enough(fitting, rows, max_tokens, held_out=held_out), dropped


def _without_special_tokens(
    tokenizer: "Tokenizer", rows: Sequence[R], messages: Callable[[R], list[Message]]
) -> tuple[list[R], list[Dropped]]:
    spells = spell_special_tokens(tokenizer, map(messages, rows))
    clean = [row for row, bad in zip(rows, spells, strict=True) if not bad]
    return clean, [Dropped(row.row, SPELLS_SPECIAL_TOKEN) for row, bad in zip(rows, spells, strict=True) if bad]


def enough(fitting: list[T], rows: Sequence[AnyRow], max_tokens: int, *, held_out: bool) -> list[T]:
    """What is left of some rows. Raises ValueError, before anything is trained, when an interval needs more."""
    at_least, part = (2, "held-out rows") if held_out else (1, "rows to train on")
    if len(fitting) < at_least:
        raise ValueError(
            f"{part}{f', from {rows[0].row} on' if rows else ''}: {len(fitting)} of {len(rows)} have at most "
            f"{max_tokens} tokens and spell no special token; at least {at_least} are needed: shorten the rows, give "
            "more, or raise max_tokens or the context"
        )
    return fitting
