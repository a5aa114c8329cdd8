"""A model folder that replies in this process: a judge, or the policy whose answers are judged."""

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from gristmill.evaluate.branches import Branches
from gristmill.evaluate.chat_format import encode_prompts, spell_special_tokens
from gristmill.evaluate.generation import answers
from gristmill.evaluate.logps import completion_logps
from gristmill.evaluate.sampling_config import Sampling
from gristmill.judge.questions import Question, Reply
from gristmill.serve.chat import ChatModel


class LocalModel:
    """A respondent. What a question draws depends on its own seed alone."""

    def __init__(
        self,
        folder: Path,
        identity: dict[str, Any],
        *,
        batch_rows: int,
        device: str,
        threads: int,
        picks_likeliest: bool = False,
    ) -> None:
        """identity: stands for the model's content. picks_likeliest: of a question's options the likeliest is its
        reply. Raises ValueError when the folder is no model that chats."""
        self.name, self.identity, self._picks_likeliest = folder.name, identity, picks_likeliest
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
            max_tokens, temperature, options = _kind(questions[batch[0]])
            if options and self._picks_likeliest:
                yield from self._likeliest(batch, [encoded[number] for number in batch], options)
                continue
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

    def _likeliest(
        self, numbers: Sequence[int], prompts: Sequence[list[int]], options: Sequence[str]
    ) -> Iterator[tuple[int, Reply]]:
        """By log-probability of the whole option; a tie goes to the first."""
        ids = self._chat.tokenizer(list(options), add_special_tokens=False)["input_ids"]
        asked = [Branches(prompt, ids) for prompt in prompts]
        for number, logps in zip(numbers, completion_logps(self._chat.model, asked), strict=True):
            yield number, Reply(options[max(range(len(options)), key=logps.__getitem__)])


def _kind(question: Question) -> tuple[int, float, tuple[str, ...]]:
    return question.max_tokens, question.temperature, question.options


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
