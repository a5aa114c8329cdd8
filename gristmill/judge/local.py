"""A model folder that replies in this process: a judge, or the policy whose answers are judged."""

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from gristmill.evaluate.chat_format import encode_prompts, spell_special_tokens
from gristmill.evaluate.generation import answers
from gristmill.evaluate.sampling_config import Sampling
from gristmill.judge.questions import Question, Reply
from gristmill.serve.chat import ChatModel


class LocalModel:
    """A respondent. What a question draws depends on its own seed alone."""

    def __init__(self, folder: Path, identity: dict[str, Any], *, batch_rows: int, device: str, threads: int) -> None:
        """identity: stands for the model's content. Raises ValueError when the folder is no model that chats."""
        self.name, self.identity = folder.name, identity
        self._chat, self._batch_rows = ChatModel(folder, device=device, threads=threads), batch_rows

    def replies(self, questions: Sequence[Question]) -> Generator[tuple[int, Reply]]:
        chats = [list(each.messages) for each in questions]
        encoded = encode_prompts(self._chat.tokenizer, chats)
        spells = spell_special_tokens(self._chat.tokenizer, chats)
        fitting = []
        for number, (question, ids) in enumerate(zip(questions, encoded, strict=True)):
            if spells[number]:
                yield number, Reply(None, "spells_special_token")
            elif len(ids) + question.max_tokens > self._chat.context:
                yield number, Reply(None, "too_long")
            else:
                fitting.append(number)
        fitting.sort(key=lambda number: (_kind(questions[number]), len(encoded[number]), number))
        for batch in _batches(fitting, questions, self._batch_rows):
            max_tokens, temperature = _kind(questions[batch[0]])
            made = answers(
                self._chat.model,
                [encoded[number] for number in batch],
                max_new_tokens=max_tokens,
                stop_ids=self._chat.stop_ids,
                sampling=Sampling(temperature=temperature),
                seeds=[questions[number].seed for number in batch] if temperature else None,
            )
            for number, answer in zip(batch, made, strict=True):
                text = str(self._chat.tokenizer.decode(answer.ids, skip_special_tokens=True)).strip()
                yield number, Reply(text, cut=answer.stopped_by is None)


def _kind(question: Question) -> tuple[int, float]:
    return question.max_tokens, question.temperature


def _batches(numbers: Sequence[int], questions: Sequence[Question], rows: int) -> Iterator[list[int]]:
    """Neighbours of one kind, at most `rows` together."""
    batch: list[int] = []
    for number in numbers:
        if batch and (len(batch) == rows or _kind(questions[number]) != _kind(questions[batch[0]])):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
