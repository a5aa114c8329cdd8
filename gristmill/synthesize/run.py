"""Rows from seeds: `python -m gristmill.synthesize.run --config run.yaml --out DIR`.

Writes the examples artifact with the kept rows behind its own SFT rows (held-out rows stay as they are),
`synthetic.json` (who wrote them), `data_licenses.json` (under which licences; they go along to a model that learns it),
and in `synthesize/` what was replied and `written.jsonl`, every row with what became of it. Self-Instruct (Wang et al.
2022, arXiv:2212.10560) for `generate`, WRAP (Maini et al. 2024, arXiv:2401.16380) for `rephrase`.
"""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.dedup.decontaminate_config import DecontaminateConfig
from gristmill.judge.config import PromptFile
from gristmill.judge.people import read_references
from gristmill.judge.preferences import license_of_writer, open_judge
from gristmill.judge.questions import Judge, Question, Reply
from gristmill.model.origin import note_data_license
from gristmill.program import run_program
from gristmill.report import Report
from gristmill.schema import Resources
from gristmill.synthesize.checks import Checks, Written, item_ngrams, word_pairs
from gristmill.synthesize.config import SynthesizeConfig, SynthesizeRun
from gristmill.synthesize.templates import TEMPLATES

SHOWN = 3  # seeds in whose manner one task is written


def run_synthesize(
    examples: Path, out: Path, config: SynthesizeConfig, decontaminate: DecontaminateConfig, resources: Resources
) -> Report:
    """Raises JudgeFailed when the generator does not answer (what it wrote is kept), ValueError without seeds."""
    seeds, several_turns = _seeds(config, examples)
    generator = open_judge(config.generator, out / "synthesize" / "replies.jsonl", resources)
    license = license_of_writer(config.generator, config.license)
    checks = Checks(
        config,
        item_ngrams(examples, decontaminate, length=config.leak_words),
        [word_pairs(seed.question) for seed in seeds],
    )
    rows, faults = [], Counter[str]()
    written = _written(generator, seeds, config)
    for number, (seed, row) in enumerate(zip(seeds, written, strict=True)):
        fault = checks.fault(row, seed)
        faults[fault or "kept"] += 1
        rows.append({"seed": seed.question, "question": row.question, "answer": row.answer, "fault": fault})
        if fault is None:
            rows[-1]["id"] = f"synthetic-{config.recipe}-{number}"
    for path in sorted(examples.glob("*.jsonl")):
        shutil.copyfile(path, out / path.name)
    by = {"generator": generator.respondent.name, "license": license}
    if isinstance(config.seeds, PromptFile):
        note_data_license(out, "synthesize.seeds", config.seeds.license)
        by["seeds_license"] = config.seeds.license
    by["recipe"] = config.recipe
    with (out / "sft.jsonl").open("a", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(_sft_row(row, by), ensure_ascii=False) + "\n" for row in rows if "id" in row)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (out / "synthesize" / "written.jsonl").write_text(lines, encoding="utf-8", newline="\n")
    kept = faults.pop("kept", 0)
    note_data_license(out, "synthesize", license)
    by |= {"rows": kept, "template": TEMPLATES[config.recipe].identity}
    (out / "synthetic.json").write_text(json.dumps(by, indent=2) + "\n")
    return Report(
        rows_in=len(seeds),
        rows_out=kept,
        unit="rows",
        dropped=dict(sorted(faults.items())),
        metrics={"kept_share": kept / len(seeds)},
        details={**by, "seeds_of_several_turns": several_turns, "asked": dict(sorted(generator.counts.items()))},
    )


def _seeds(config: SynthesizeConfig, examples: Path) -> tuple[list[Written], int]:
    """Questions of one turn with their answers, drawn by the seed; how many had several turns."""
    path = config.seeds.path if isinstance(config.seeds, PromptFile) else examples / "sft.jsonl"
    found = read_references(path)
    single = [Written(each.prompt[0]["content"], each.answer) for each in found if len(each.prompt) == 1]
    distinct = list(dict.fromkeys(single))
    if len(distinct) < SHOWN:
        raise ValueError(f"{path.name}: {len(distinct)} questions of one turn with an answer; give at least {SHOWN}")
    order = np.random.default_rng(config.seed).permutation(len(distinct))[: config.max_seeds]
    return [distinct[place] for place in order], len(found) - len(single)


def _written(generator: Judge, seeds: Sequence[Written], config: SynthesizeConfig) -> list[Written]:
    if config.recipe == "rephrase":
        questions = _asked(generator, [seed.question for seed in seeds], config)
        return [Written(asked.said, seed.answer, asked.fault) for asked, seed in zip(questions, seeds, strict=True)]
    if config.recipe == "translate":
        replies = _asked(generator, [text for seed in seeds for text in (seed.question, seed.answer)], config)
        return [_of_two(question, answer) for question, answer in zip(replies[::2], replies[1::2], strict=True)]
    shown = [
        "\n\n".join(f"Task: {seeds[(place + step) % len(seeds)].question}" for step in range(SHOWN))
        for place in range(len(seeds))
    ]
    questions = _asked(generator, shown, config)
    draws = _draws(config, len(questions), part=1)
    alone = [
        Question(({"role": "user", "content": question.said},), config.row_tokens, config.temperature, draw)
        for question, draw in zip(questions, draws, strict=True)
        if question.said and not question.fault
    ]
    answers = iter(generator.ask(alone, label="synthesize: answers"))
    return [
        _of_two(question, next(answers)) if question.said and not question.fault else _of_two(question, Reply(""))
        for question in questions
    ]


def _of_two(question: Reply, answer: Reply) -> Written:
    return Written(question.said, answer.said, question.fault or answer.fault)


def _asked(generator: Judge, texts: Sequence[str], config: SynthesizeConfig) -> list[Reply]:
    questions = [
        Question(
            tuple(TEMPLATES[config.recipe].filled(material={"text": text}, language=config.language)),
            config.row_tokens,
            config.temperature,
            draw,
        )
        for text, draw in zip(texts, _draws(config, len(texts), part=0), strict=True)
    ]
    return generator.ask(questions, label=f"synthesize: {config.recipe}")


def _draws(config: SynthesizeConfig, count: int, *, part: int) -> list[int]:
    return np.random.SeedSequence([config.seed, part]).generate_state(count).tolist()


def _sft_row(row: dict[str, Any], by: dict[str, Any]) -> dict[str, Any]:
    messages = [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]
    return {"id": row["id"], "messages": messages, "synthetic": by}


if __name__ == "__main__":
    run_program(
        "gristmill.synthesize.run",
        SynthesizeRun,
        lambda run, out: run_synthesize(run.examples, out, run.config, run.decontaminate, run.resources),
    )
