from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.cache_utils import DynamicLayer

from gristmill.evaluate.generation import answers, decode, greedy_answers, stop_ids
from gristmill.evaluate.kv_cache import ReservedLayer, reserved_cache
from gristmill.evaluate.sampling_config import Sampling

PROMPTS = [[0, 5, 6, 7, 8], [0, 9], [0, 10, 11]]


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_model)


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


def of_transformers(model: Any, prompt: Sequence[int], **options: Any) -> list[int]:
    given = torch.tensor([prompt])
    made = model.generate(given, max_new_tokens=12, do_sample=False, eos_token_id=319, pad_token_id=1, **options)
    return [token for token in made[0, len(prompt) :].tolist() if token != 319]


def test_greedy_answers_of_a_batch_are_those_of_transformers_one_by_one(model: Any):
    found = greedy_answers(model, PROMPTS, max_new_tokens=12, stop_ids={319})
    assert found == [of_transformers(model, prompt) for prompt in PROMPTS]


def test_greedy_answers_with_a_repetition_penalty_are_those_of_transformers(model: Any):
    penalized = Sampling(repetition_penalty=1.3)
    found = answers(model, PROMPTS, max_new_tokens=12, stop_ids={319}, sampling=penalized)
    assert [answer.ids for answer in found] == [
        of_transformers(model, prompt, repetition_penalty=1.3) for prompt in PROMPTS
    ]
    assert [answer.ids for answer in found] != greedy_answers(model, PROMPTS, max_new_tokens=12, stop_ids={319})


def test_an_answer_ends_before_its_stop_token_and_the_batch_when_all_have_stopped(model: Any):
    free = greedy_answers(model, PROMPTS[:1], max_new_tokens=12, stop_ids=set())[0]
    stop = free[4]
    (answer,) = answers(model, PROMPTS[:1], max_new_tokens=12, stop_ids={stop})
    assert (answer.ids, answer.stopped_by) == (free[: free.index(stop)], stop)
    steps = list(decode(model, PROMPTS[:1], max_new_tokens=12, stop_ids={stop}))
    assert len(steps) == free.index(stop) + 1


def test_rows_that_ended_leave_the_batch_and_the_others_go_on_as_before(model: Any):
    free = greedy_answers(model, PROMPTS, max_new_tokens=12, stop_ids=set())
    stop = free[0][2]
    expected = [row[: row.index(stop)] if stop in row else row for row in free]
    assert len({len(row) for row in expected}) > 1
    assert greedy_answers(model, PROMPTS, max_new_tokens=12, stop_ids={stop}) == expected
    widths: list[int] = []
    hook = model.register_forward_pre_hook(
        lambda _model, _args, given: widths.append(len(given["input_ids"])), with_kwargs=True
    )
    steps = list(decode(model, PROMPTS, max_new_tokens=12, stop_ids={stop}))
    hook.remove()
    assert widths[1:] == [sum(token not in (None, stop) for token in step) for step in steps[:-1]]


def test_prompts_that_are_the_same_are_read_once(model: Any):
    read: list[torch.Size] = []
    hook = model.register_forward_pre_hook(
        lambda _model, _args, given: read.append(given["input_ids"].shape), with_kwargs=True
    )
    group = [PROMPTS[0]] * 3 + [PROMPTS[1]] * 2
    found = greedy_answers(model, group, max_new_tokens=3, stop_ids=set())
    hook.remove()
    assert read == [(2, 5), (5, 1), (5, 1)]
    one, other = greedy_answers(model, PROMPTS[:2], max_new_tokens=3, stop_ids=set())
    assert found == [one] * 3 + [other] * 2


def test_a_sample_depends_on_its_seed_and_not_on_its_batch(model: Any):
    drawn = Sampling(temperature=1.0, top_p=0.95)
    group = [prompt for prompt in PROMPTS for _ in range(3)]
    seeds = list(range(9))
    together = answers(model, group, max_new_tokens=10, stop_ids={0}, sampling=drawn, seeds=seeds, rows_per_batch=9)
    alone = [
        answers(model, [prompt], max_new_tokens=10, stop_ids={0}, sampling=drawn, seeds=[seed])[0]
        for prompt, seed in zip(group, seeds, strict=True)
    ]
    assert together == alone
    assert len({tuple(answer.ids) for answer in together}) == 9
    with pytest.raises(ValueError, match="give seeds, one for each of 3 prompts"):
        answers(model, PROMPTS, max_new_tokens=2, stop_ids={0}, sampling=drawn)


def test_a_stop_string_ends_its_row_alone_whatever_tokens_spell_it(model: Any, tokenizer: Any):
    free = greedy_answers(model, PROMPTS, max_new_tokens=12, stop_ids=set())
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in free]
    stop = next(
        text[at : at + 3]
        for text in texts[:1]
        for at in range(2, len(text) - 3)
        if "\ufffd" not in text[at : at + 3] and text[at : at + 3] not in texts[1] + texts[2]
    )
    found = answers(model, PROMPTS, max_new_tokens=12, stop_ids=set(), stop=[stop], tokenizer=tokenizer)
    shortest = next(
        ids for ids in (free[0][:size] for size in range(13)) if stop in tokenizer.decode(ids, skip_special_tokens=True)
    )
    assert [answer.ids for answer in found] == [shortest, *free[1:]]
    assert [answer.stopped_by for answer in found] == [stop, None, None]


def test_a_reserved_layer_holds_what_a_growing_one_holds():
    torch.manual_seed(0)
    growing, reserved = DynamicLayer(), ReservedLayer(capacity=9)
    kept: list[list[int] | None] = [None, [2, 0], None, [1, 1, 0], None, None]
    rows = 3
    for size, indices in zip((4, 1, 1, 1, 1, 1), kept, strict=True):
        keys, values = torch.randn(2, rows, 2, size, 8)
        expected = growing.update(keys, values)
        found = reserved.update(keys, values)
        assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))
        assert reserved.get_seq_length() == growing.get_seq_length()
        if indices is not None:
            rows = len(indices)
            growing.batch_select_indices(torch.tensor(indices))
            reserved.batch_select_indices(torch.tensor(indices))


def test_layers_of_the_default_family_have_their_room_from_the_start(model: Any):
    assert all(type(layer) is ReservedLayer for layer in reserved_cache(model.config, 8).layers)


def test_stop_tokens_come_from_the_generation_configuration(model: Any):
    assert stop_ids(model) == {0, 3}
