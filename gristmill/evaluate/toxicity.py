"""How toxic a model's text is: continuations of beginnings, scored by a classifier whose own errors are stated beside.

Metrics of a set NAME, each with a bootstrap interval over beginnings: `NAME_toxicity`, the mean score;
`NAME_toxic_share`, the share of continuations above the threshold; `NAME_any_toxic` and `NAME_max_toxicity`, the
paper's toxicity probability and expected maximum, which grow with the number of continuations. Left out: a correction
of the shares by the classifier's error, which differs from one kind of text to another.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gristmill.evaluate.generation import answers, stop_ids
from gristmill.evaluate.harness_items import drawn
from gristmill.evaluate.multiple_choice import prompt_tokens
from gristmill.evaluate.statistics import mean_interval, paired_difference
from gristmill.evaluate.toxicity_config import Beginnings, ToxicityConfig
from gristmill.filters.classifier import TASKS, Classifier, check_model
from gristmill.filters.classifier_config import MODELS
from gristmill.fingerprint import read_sha256
from gristmill.jsonl import read_jsonl
from gristmill.program import RESULT
from gristmill.progress import progress
from gristmill.report import Report

CONTINUATIONS = "continuations.jsonl"
KNOWN_ERROR = (
    "toxicity.en.ftz on 2,854 held-out comments, toxic above 0.5: it finds 0.860 of what is toxic and blames 0.071 of "
    "what is not (0.150 of sentences that name groups of people, 0.007 of web pages); it knows words more than "
    "meanings"
)
"""From gristmill/filters/models/toxicity.en.card.md."""


@dataclass(frozen=True)
class Continued:
    """A beginning, and texts that follow it with their scores. written: the score of what people wrote there."""

    set: str
    beginning: str
    continuations: list[str]
    scores: list[float]
    written: float | None = None


def measure_toxicity(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: ToxicityConfig,
    out: Path,
    parent: Path | None,
    *,
    seed: int,
    limit_seed: int,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics and details; writes continuations.jsonl into `out`.

    parent: an earlier evaluation, compared beginning by beginning where it was measured in the same way. Raises
    ValueError where a file holds no beginnings, or the classifier is none.
    """
    path = config.classifier or MODELS / "toxicity.en.ftz"
    check_model(path, TASKS["toxicity"])
    classifier = Classifier.load(path, TASKS["toxicity"])
    facts: dict[str, Any] = {
        "classifier": {"file": path.name, "sha256": read_sha256(path)},
        **config.model_dump(mode="json", exclude={"beginnings", "classifier"}),
        "seed": seed,
        "sets": {each.name: _about(each, limit_seed) for each in config.beginnings},
    }
    rows = [
        row
        for each in config.beginnings
        for row in _continued(model, tokenizer, each, config, classifier, seed=seed, limit_seed=limit_seed)
    ]
    _write(out / CONTINUATIONS, rows)
    metrics: dict[str, float] = {}
    for each in config.beginnings:
        metrics |= _metrics([row for row in rows if row.set == each.name], config.threshold, seed)
    details: dict[str, Any] = {"toxicity": facts}
    if parent:
        compared = _minus_parent(rows, parent, facts, config.threshold, seed)
        if isinstance(compared, str):
            details["toxicity_minus_parent"] = compared
        else:
            metrics |= compared
    known = KNOWN_ERROR if config.classifier is None else f"of {path.name} is not known here; see how it was made"
    return metrics, details | {"toxicity_known_error": known}


def _about(each: Beginnings, limit_seed: int) -> dict[str, Any]:
    drawn_with = limit_seed if each.limit else None
    about = each.model_dump(mode="json", exclude={"name", "path"})
    return about | {"data_sha256": read_sha256(each.path), "limit_seed": drawn_with}


def _continued(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: Beginnings,
    config: ToxicityConfig,
    classifier: Classifier,
    *,
    seed: int,
    limit_seed: int,
) -> list[Continued]:
    texts = _texts(asked, limit_seed)
    prompts = prompt_tokens(tokenizer, [begun for begun, _ in texts], plain_template="{question}", chat=False)
    room = model.config.get_text_config().max_position_embeddings - config.tokens
    if room < 1:
        raise ValueError(f"toxicity.tokens={config.tokens} leaves no room for a beginning in this model's context")
    every = config.continuations
    draws = [random.Random(f"{seed} {begun}") for begun, _ in texts]
    # the token that begins a document ends the one before it
    ends = stop_ids(model) | {prompt[0] for prompt in prompts}
    with progress(f"evaluate: toxicity, {asked.name}", total=None, unit="texts"):
        made = answers(
            model,
            [prompt[-room:] for prompt in prompts for _ in range(every)],
            max_new_tokens=config.tokens,
            stop_ids=ends,
            sampling=config.sampling,
            seeds=[draw.getrandbits(32) for draw in draws for _ in range(every)],
        )
    said = [str(tokenizer.decode(answer.ids, skip_special_tokens=True)) for answer in made]
    rows = []
    for number, (begun, follows) in enumerate(texts):
        mine = said[number * every : (number + 1) * every]
        scores = [classifier.score(text) for text in mine]
        rows.append(Continued(asked.name, begun, mine, scores, classifier.score(follows) if follows else None))
    return rows


def _texts(asked: Beginnings, limit_seed: int) -> list[tuple[str, str]]:
    """Beginnings, and what follows each in its text."""
    found: list[tuple[str, str]] = []
    for where, row in read_jsonl(asked.path):
        text = row.get(asked.field)
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{where}: no text in the field {asked.field!r}; the row has {', '.join(row)}")
        words, count = text.split(), asked.first_words
        if count is None:
            found.append((text.strip(), ""))
        elif len(words) >= 2 * count:
            found.append((" ".join(words[:count]), " ".join(words[count : 2 * count])))
    distinct = list(dict(found).items())
    if len(distinct) < 2:
        raise ValueError(
            f"{asked.path.name}: {len(distinct)} beginnings; an interval needs at least 2"
            + (f", of texts of {2 * asked.first_words} words or more" if asked.first_words else "")
        )
    return [distinct[number] for number in drawn(len(distinct), asked.limit, limit_seed)]


def _metrics(rows: Sequence[Continued], threshold: float, seed: int) -> dict[str, float]:
    name = rows[0].set
    measured = {
        "toxicity": [sum(row.scores) / len(row.scores) for row in rows],
        "toxic_share": [_toxic_share(row.scores, threshold) for row in rows],
        "any_toxic": [float(max(row.scores) > threshold) for row in rows],
        "max_toxicity": [max(row.scores) for row in rows],
    }
    written = [float(row.written > threshold) for row in rows if row.written is not None]
    if written:
        measured["written_toxic_share"] = written
    metrics = {f"{name}_n": float(len(rows))}
    for kind, values in measured.items():
        metrics |= mean_interval(values, seed=seed).metrics(f"{name}_{kind}")
    return metrics


def _toxic_share(scores: Sequence[float], threshold: float) -> float:
    return sum(score > threshold for score in scores) / len(scores)


def _minus_parent(
    rows: Sequence[Continued], parent: Path, facts: dict[str, Any], threshold: float, seed: int
) -> dict[str, float] | str:
    """Differences in `toxic_share` on the same beginnings, or why there are none."""
    if not (parent / CONTINUATIONS).is_file():
        return "the parent's continuations were not measured"
    theirs = Report.model_validate_json((parent / RESULT).read_bytes()).details.get("toxicity")
    if theirs != json.loads(json.dumps(facts)):
        return "the parent's continuations were drawn or scored in another way; evaluate it in the same"
    before = {(row["set"], row["beginning"]): row["scores"] for _, row in read_jsonl(parent / CONTINUATIONS)}
    found: dict[str, float] = {}
    for name in facts["sets"]:
        mine = [row for row in rows if row.set == name]
        after = [_toxic_share(row.scores, threshold) for row in mine]
        other = [_toxic_share(before[row.set, row.beginning], threshold) for row in mine]
        found |= paired_difference(after, other, seed=seed).metrics(f"{name}_toxic_share_minus_parent")
    return found


def _write(path: Path, rows: Sequence[Continued]) -> None:
    lines = (json.dumps(vars(row), ensure_ascii=False) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
