"""A conversation with a checkpoint, answer by answer, as text for a terminal."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from gristmill.evaluate.chat_format import Message, check_template, encode_prompts, end_of_turn
from gristmill.evaluate.checkpoints import load_model, prepare_process
from gristmill.evaluate.generation import GREEDY, decode, stop_ids
from gristmill.evaluate.sampling_config import Sampling
from gristmill.evaluate.text_stream import TextStream
from gristmill.schema import Resources

LONGEST_SEQUENCE = 256


class ChatModel:
    """A model folder, ready to answer."""

    def __init__(self, folder: Path, *, device: str = "auto", threads: int | None = None) -> None:
        """Raises ValueError when the folder is no model, or its tokenizer has no usable chat template."""
        resources = Resources(device=device, threads=threads or torch.get_num_threads())
        self.model, self.tokenizer = load_model(folder, prepare_process(resources))
        check_template(self.tokenizer)
        self.context: int = self.model.config.get_text_config().max_position_embeddings
        self.stop_ids = stop_ids(self.model) | set(end_of_turn(self.tokenizer))

    def reply(
        self,
        messages: Sequence[Message],
        *,
        max_new_tokens: int = 256,
        sampling: Sampling = GREEDY,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> Iterator[str]:
        """The answer to the last message, piece by piece, without terminal control sequences.

        stop: texts that end the answer and are no part of it. When the conversation outgrows the model's context, half
        of which is the most an answer gets, its oldest turns are forgotten, up to one of the user's, and never what the
        system said first. Raises ValueError when that and the last message alone are too long.
        """
        clean, text = TerminalText(), TextStream(self.tokenizer, stop)
        room_for_answer = min(max_new_tokens, self.context // 2)
        steps = decode(
            self.model,
            [self._prompt(list(messages), room_for_answer)],
            max_new_tokens=room_for_answer,
            stop_ids=self.stop_ids,
            sampling=sampling,
            seeds=[seed],
            ended=lambda _row, _token: text.stopped_by is not None,
        )
        for (token,) in steps:
            if token is not None and token not in self.stop_ids:
                yield from filter(None, [clean.feed(text.feed(token))])
        yield from filter(None, [clean.feed(text.rest())])

    def _prompt(self, messages: list[Message], room_for_answer: int) -> list[int]:
        room = self.context - room_for_answer
        system, turns = ([messages[0]], messages[1:]) if messages[0]["role"] == "system" else ([], messages)
        while True:
            (ids,) = encode_prompts(self.tokenizer, [[*system, *turns]])
            if len(ids) <= room:
                return ids
            of_user = [number for number, turn in enumerate(turns) if number and turn["role"] == "user"]
            if not of_user:
                raise ValueError(
                    f"the message has {len(ids)} tokens and the model's context leaves room for {room} beside an "
                    f"answer of {room_for_answer}; shorten it"
                )
            turns = turns[of_user[0] :]


class TerminalText:
    """Text made safe to print as it streams in: no escape sequences, no control characters but newline and tab."""

    # CSI; OSC, DCS, PM, APC and SOS up to their end; two-character escapes
    _SEQUENCE = re.compile(
        r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
        r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x9c|\x1b\\)"
        r"|\x1b[ -/]*[0-OQ-WYZ\\`-~]"
    )
    _CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
    _START = re.compile(r"[\x1b\x90\x98\x9b\x9d-\x9f]")

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """The printable part of what came so far; a sequence that has begun is held back until it ends."""
        text = self._SEQUENCE.sub("", self._held + text)
        begun = self._START.search(text)
        # a sequence that never ends must not swallow the rest of the answer
        cut = begun.start() if begun and len(text) - begun.start() <= LONGEST_SEQUENCE else len(text)
        self._held = text[cut:]
        return self._CONTROL.sub("", text[:cut])
