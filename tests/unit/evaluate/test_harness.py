"""Benchmarks through lm-evaluation-harness: what a score is, checked by adding up log-probabilities by hand."""

import gzip
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from gristmill.dedup.leaks import LEAK_SCHEMA
from gristmill.evaluate.answer_scores import SCORES
from gristmill.evaluate.config import EvaluateConfig
from gristmill.evaluate.harness import read_benchmarks
from gristmill.evaluate.run import run_evaluate
from gristmill.progress import progress
from gristmill.report import Report
from gristmill.schema import Resources

CPU = Resources(threads=1, device="cpu")
PAIRS = [
    {"good": "The list is in order.", "bad": "The list are in order."},
    {"good": "Sort a list.", "bad": "Sort an list of it."},
    {"good": "Return the title.", "bad": "Return title the."},
]
QUESTIONS = [
    {"id": "a", "ask": "What sorts?", "options": ["sort", "a join of all"], "right": 1},
    {"id": "b", "ask": "What joins?", "options": ["join", "index"], "right": 0},
    {"id": "c", "ask": "What counts?", "options": ["lower", "count the list"], "right": 1},
]
SCHEMAS = [
    {"starts": ["The list so the list", "The list so the title"], "end": "is long.", "gold": 1},
    {"starts": ["A sort as the sort", "A sort as the join"], "end": "is short.", "gold": 0},
]
CLOZE = [{"text": "Return the list in", "word": "order"}, {"text": "Sort a", "word": "list"}]

Measure = Callable[..., tuple[Report, list[dict[str, Any]]]]


@pytest.fixture
def measure(tiny_model: Path, tmp_path: Path) -> Measure:
    """measure(rows, **definition): the report and the rows of items.parquet."""

    def run(
        rows: list[dict[str, Any]],
        *,
        limit: int | None = None,
        model: Path = tiny_model,
        clean: Path | None = None,
        **definition: Any,
    ):
        data = tmp_path / "items.jsonl.gz"
        data.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
        benchmark = {"kind": "harness", "name": "mine", "data": {"path": str(data)}, **definition}
        config = EvaluateConfig.model_validate({"benchmarks": [benchmark], "samples": [], "limit": limit})
        (tmp_path / "out").mkdir(exist_ok=True)
        report = run_evaluate(model, None, None, None, tmp_path / "out", config, CPU, decontaminated=clean)
        return report, pq.read_table(tmp_path / "out" / "items.parquet").to_pylist()

    return run


@pytest.fixture(scope="module")
def logp(tiny_model: Path) -> Callable[..., float]:
    """logp(prompt, answer): ln p by transformers alone, one token after the other. `begin`: with the first token."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)

    def of(prompt: str, answer: str, *, begin: bool = False) -> float:
        start = [tokenizer.bos_token_id] if begin or not prompt else []
        prompt_ids = start + tokenizer.encode(prompt, add_special_tokens=False)
        ids = start + tokenizer.encode(prompt + answer, add_special_tokens=False)
        total = 0.0
        for place in range(len(prompt_ids), len(ids)):
            with torch.no_grad():
                logits = model(torch.tensor([ids[:place]])).logits[0, -1].double()
            total += float(logits[ids[place]] - logits.logsumexp(0))
        return total

    return of


def test_a_sentence_of_a_minimal_pair_scores_its_log_probability_after_the_first_token(measure, logp):
    report, rows = measure(PAIRS, doc_to_text="", doc_to_choice="{{[good, bad]}}", doc_to_target="0")
    expected = [[logp("", " " + pair["good"]), logp("", " " + pair["bad"])] for pair in PAIRS]
    for row, scores in zip(rows, expected, strict=True):
        assert row["scores"] == pytest.approx(scores, abs=1e-4)
    right = [good > bad for good, bad in expected]
    assert [row["correct"] for row in rows] == right
    assert report.metrics["mine_accuracy"] == sum(right) / 3
    assert report.metrics["mine_n"] == 3


def test_choices_are_scored_after_the_prompt_and_the_first_metric_decides(measure, logp):
    asked = {"doc_to_text": "Q: {{ask}}\nA:", "doc_to_choice": "options", "doc_to_target": "right"}
    report, rows = measure(QUESTIONS, **asked, metrics=["acc_norm", "acc"], chance=0.5)
    expected = [[logp(f"Q: {item['ask']}\nA:", f" {option}") for option in item["options"]] for item in QUESTIONS]
    for row, scores in zip(rows, expected, strict=True):
        assert row["scores"] == pytest.approx(scores, abs=1e-4)
    lengths = [[len(option) for option in item["options"]] for item in QUESTIONS]
    chosen = [int(np.argmax(np.array(s) / n)) for s, n in zip(expected, lengths, strict=True)]
    assert [row["chosen"] for row in rows] == chosen
    assert [row["id"] for row in rows] == ["a", "b", "c"]
    accuracy = np.mean([c == item["right"] for c, item in zip(chosen, QUESTIONS, strict=True)])
    assert report.metrics["mine_accuracy"] == accuracy
    assert report.metrics["mine_centred"] == pytest.approx((accuracy - 0.5) / 0.5)
    likeliest = [np.argmax(scores) for scores in expected]
    assert report.metrics["mine_acc"] == np.mean(np.array(likeliest) == [item["right"] for item in QUESTIONS])


def test_with_prefix_always_every_prompt_begins_as_a_document_does(measure, logp):
    asked = {"doc_to_text": "ask", "doc_to_choice": "options", "doc_to_target": "right", "prefix": "always"}
    report, rows = measure(QUESTIONS, **asked)
    expected = [[logp(item["ask"], f" {option}", begin=True) for option in item["options"]] for item in QUESTIONS]
    for row, scores in zip(rows, expected, strict=True):
        assert row["scores"] == pytest.approx(scores, abs=1e-4)
    assert report.details["benchmarks"]["mine"]["prefix_token"] == "<|endoftext|>"
    assert report.details["benchmarks"]["mine"]["first_request"] == ["What sorts?", " sort"]


def test_the_first_token_is_recorded_where_a_model_read_it(measure):
    asked = {"doc_to_text": "ask", "doc_to_choice": "options", "doc_to_target": "right"}
    assert measure(QUESTIONS, **asked)[0].details["benchmarks"]["mine"]["prefix_token"] is None
    without_prompt = measure(QUESTIONS, **asked | {"doc_to_text": ""})[0].details["benchmarks"]["mine"]
    assert without_prompt["prefix_token"] == "<|endoftext|>"
    definition = without_prompt["definition"]
    assert (definition["doc_to_text"], definition["metric"], definition["target_delimiter"]) == ("", "acc", " ")


def test_of_a_winograd_schema_what_follows_the_name_is_scored(measure, logp):
    _, rows = measure(SCHEMAS, doc_to_text="gold", doc_to_choice="starts", doc_to_target="end")
    for row, item in zip(rows, SCHEMAS, strict=True):
        scores = [logp(start, f" {item['end']}") for start in item["starts"]]
        assert row["scores"] == pytest.approx(scores, abs=1e-4)
        assert (row["answer"], row["correct"]) == (item["gold"], float(np.argmax(scores) == item["gold"]))


def test_perplexity_is_of_whole_targets_and_only_a_greedy_target_is_right(measure, logp):
    asked = {"output_type": "loglikelihood", "doc_to_text": "text", "doc_to_target": " {{word}}"}
    report, rows = measure(CLOZE, **asked, metrics=["acc", "perplexity"])
    logps = [logp(item["text"], f" {item['word']}") for item in CLOZE]
    assert report.metrics["mine_perplexity"] == pytest.approx(math.exp(-sum(logps) / 2), rel=1e-4)
    assert [row["correct"] for row in rows] == [0, 0]  # random weights
    assert all(row["shortest"] is None for row in rows)
    assert "mine_accuracy_minus_baseline" not in report.metrics


def test_examples_stand_before_an_item_and_are_never_the_item_itself(measure):
    asked = {
        "output_type": "loglikelihood",
        "doc_to_text": "text",
        "doc_to_target": " {{word}}",
        "target_delimiter": "",
    }
    report, _ = measure(CLOZE, **asked, num_fewshot=1, fewshot_delimiter="\n")
    assert report.details["benchmarks"]["mine"]["first_request"] == ["Sort a list\nReturn the list in", " order"]


def test_a_limit_draws_items_that_a_larger_one_holds_too(measure):
    many = [{"good": f"List {n}.", "bad": f"Lists {n}."} for n in range(40)]
    asked = {"doc_to_text": "", "doc_to_choice": "{{[good, bad]}}", "doc_to_target": "0"}
    ten = {row["id"]: row["scores"] for row in measure(many, **asked, limit=10)[1]}
    report, rows = measure(many, **asked, limit=20)
    twenty = {row["id"]: row["scores"] for row in rows}
    assert (len(ten), len(twenty)) == (10, 20)
    assert all(scores == pytest.approx(twenty[key], abs=1e-4) for key, scores in ten.items())
    assert (report.details["benchmarks"]["mine"]["n"], report.details["benchmarks"]["mine"]["of"]) == (20, 40)


def test_found_items_are_known_by_their_row_whatever_decontamination_calls_them(measure, tmp_path: Path):
    leak = dict.fromkeys(LEAK_SCHEMA.names) | {"benchmark": "mine", "item_id": "slug-b", "row": 2}
    (tmp_path / "clean").mkdir()
    pq.write_table(pa.Table.from_pylist([leak], LEAK_SCHEMA), tmp_path / "clean" / "leaks.parquet")
    asked = {"doc_to_text": "{{ask}}", "doc_to_choice": "{{options}}", "doc_to_target": "{{right}}"}
    report, rows = measure(QUESTIONS, **asked, clean=tmp_path / "clean")
    assert [(row["id"], row["row"]) for row in rows] == [("a", 1), ("b", 2), ("c", 3)]
    assert report.metrics["mine_found_n"] == 1
    assert report.metrics["mine_accuracy_without_found"] == (rows[0]["correct"] + rows[2]["correct"]) / 2


def test_an_item_whose_answer_does_not_fit_into_the_context_is_left_out_and_counted(measure):
    long = {"good": "order " * 200, "bad": "Sort."}
    asked = {"doc_to_text": "", "doc_to_choice": "{{[good, bad]}}", "doc_to_target": "0"}
    report, rows = measure([*PAIRS, long], **asked)
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert report.details["benchmarks"]["mine"]["items_too_long"] == 1
    assert report.metrics["mine_n"] == 3


def test_a_model_of_nan_gets_no_numbers(measure, tiny_model: Path, tmp_path: Path):
    broken = tmp_path / "broken"
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    with torch.no_grad():
        model.model.norm.weight.fill_(math.nan)
    model.save_pretrained(broken)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (broken / name).write_bytes((tiny_model / name).read_bytes())
    asked = {"doc_to_text": "", "doc_to_choice": "{{[good, bad]}}", "doc_to_target": "0", "chance": 0.5}
    report, rows = measure(PAIRS, **asked, model=broken)
    assert all(math.isnan(row["correct"]) for row in rows)
    assert "mine_accuracy" not in report.metrics
    assert report.details["mine_accuracy"] == report.details["mine_centred"] == "not finite"


def test_a_generated_answer_is_extracted_and_compared(measure, tiny_model: Path):
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    ids = model.generate(
        torch.tensor([tokenizer.encode("Sort")]), max_new_tokens=6, do_sample=False, eos_token_id=[0, 3], pad_token_id=1
    )
    text = tokenizer.decode(ids[0, len(tokenizer.encode("Sort")) :], skip_special_tokens=True)
    items = [{"text": "Sort", "word": text.strip()[:1]}, {"text": "Sort", "word": "no such"}]
    asked = {"output_type": "generate_until", "doc_to_text": "text", "doc_to_target": "word"}
    pattern = re.escape(text.strip()[:1])
    _, rows = measure(items, **asked, metrics=["exact_match"], max_gen_toks=6, answer_pattern=f"({pattern})")
    assert [row["correct"] for row in rows] == [1, 0]


def test_the_gap_between_two_benchmarks_and_the_mean_of_centred_ones(tiny_model: Path, tmp_path: Path):
    data = tmp_path / "pairs.jsonl"
    swapped = {"good": PAIRS[0]["bad"], "bad": PAIRS[0]["good"]}  # so that not all are right
    data.write_text("".join(json.dumps(row) + "\n" for row in [*PAIRS, swapped]))
    asked = {"kind": "harness", "data": {"path": str(data)}, "doc_to_text": "", "chance": 0.5, "core": True}
    sound = {**asked, "name": "sound", "doc_to_choice": "{{[good, bad]}}", "doc_to_target": "0", "minus": "broken"}
    broken = {**asked, "name": "broken", "doc_to_choice": "{{[good, bad]}}", "doc_to_target": "1"}
    config = EvaluateConfig.model_validate({"benchmarks": [sound, broken], "samples": []})
    report = run_evaluate(tiny_model, None, None, None, tmp_path, config, CPU)
    right = report.metrics["sound_accuracy"]
    assert report.metrics["broken_accuracy"] == pytest.approx(1 - right)
    assert report.metrics["sound_minus_broken"] == pytest.approx(2 * right - 1)
    assert report.metrics["core_mean"] == pytest.approx(0)
    assert report.metrics["core_mean_ci_low"] < 0 < report.metrics["core_mean_ci_high"]
    assert report.details["core_mean"] == "of 2 of CORE's 22 tasks: sound, broken"


def test_without_lm_eval_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"has piqa, .* pip install 'gristmill\[benchmarks\]'"):
        read_benchmarks(EvaluateConfig.model_validate({"benchmarks": ["piqa"]}))
    assert read_benchmarks(EvaluateConfig()) == []


def test_ifeval_instructions_are_checked_by_our_verifiers(measure):
    items = [
        {"ask": "Sort", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
        {
            "ask": "Sort a list",
            "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
            "kwargs": [{}, {"relation": "at least", "num_words": 500}],
        },
    ]
    asked = {"output_type": "generate_until", "doc_to_text": "ask", "doc_to_target": "", "max_gen_toks": 4}
    report, rows = measure(items, **asked, metrics=["all_followed", "followed_share"])
    assert [row["correct"] for row in rows] == [1, 0]
    assert report.metrics["mine_followed_share"] == 0.75


def test_an_answer_that_leaves_no_room_for_its_prompt_is_refused(measure):
    asked = {"output_type": "generate_until", "doc_to_text": "text", "doc_to_target": "word", "max_gen_toks": 128}
    with pytest.raises(ValueError, match=r"context of 128 tokens; ask for less: \{extends: mine, max_gen_toks: 64\}"):
        measure(CLOZE, **asked, metrics=["exact_match"])


@pytest.mark.parametrize(
    ("metric", "right", "answer", "worth"),
    [
        ("number", "so 12 apples.\n#### 1,204", "It is 1204.0", 1),
        ("number", "4", "4 or 5", 0),
        ("number", "4", "none", 0),
        ("exact_match", " a ", "a", 1),
        ("same_language", "", "Это ответ на русском языке, и он понятен каждому.", 1),
        ("same_language", "", "This is an answer in English, which anybody can read.", 0),
    ],
)
def test_what_an_answer_is_worth(metric: str, right: str, answer: str, worth: float):
    assert SCORES[metric]({}, "Какая сегодня погода в Москве, и будет ли дождь?", right, answer) == worth


def test_our_model_gives_lm_evals_own_numbers_to_the_last_bit(tiny_model: Path):
    from lm_eval.api.instance import Instance

    from gristmill.evaluate.harness_model import CPU_ROWS_PER_BATCH, HFLM, MeasuredLM

    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    texts = [("", pair["good"]) for pair in PAIRS]
    texts += [(item["ask"], f" {option}") for item in QUESTIONS for option in item["options"]]
    requests = [Instance("loglikelihood", {}, pair, 0) for pair in texts]
    with progress("test", total=None, unit="requests") as bar:
        ours = MeasuredLM(model, tokenizer, prefix="tokenizer", bar=bar).loglikelihood(requests)
    theirs = HFLM(pretrained=str(tiny_model), device="cpu", dtype="float32", batch_size=CPU_ROWS_PER_BATCH)
    assert ours == theirs.loglikelihood(requests)
