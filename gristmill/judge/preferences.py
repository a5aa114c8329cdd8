"""Preference pairs by a judge: `python -m gristmill.judge.preferences --config run.yaml --out DIR`.

Writes an examples artifact as `gristmill.review.preferences` does, and in `judge/` everything that was said:
`answers.jsonl` and `replies.jsonl` (what was asked of the policy and of the judge is never asked again when the program
is started anew on the same folder) and `judged.jsonl`, prompt by prompt. Uses the network where the judge is an
endpoint.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from gristmill.judge.asked import held_out_of, read_asked
from gristmill.judge.config import (
    ConstitutionConfig,
    EndpointJudge,
    FeedbackConfig,
    JudgedPreferencesRun,
    ModelJudge,
    PromptFile,
    model_content,
)
from gristmill.judge.questions import Judge
from gristmill.model.origin import license_of_model, note_data_license
from gristmill.program import run_program
from gristmill.report import Report
from gristmill.review.agreement import share
from gristmill.review.preferences import write_rows
from gristmill.schema import Resources


def run_judged_preferences(
    model: Path, examples: Path, out: Path, config: FeedbackConfig | ConstitutionConfig, resources: Resources
) -> Report:
    """Answers of the model in folder `model` become pairs, in place of those in `examples`.

    Raises JudgeFailed when the judge does not answer; what it answered stays in `out`. Raises ValueError when too few
    pairs came of it.
    """
    from gristmill.judge.constitution import constitutional, toxicity_change
    from gristmill.judge.feedback import feedback

    asked = read_asked(config, examples)
    folder = out / "judge"
    policy = _judge(ModelJudge(path=model), folder / "answers.jsonl", model, resources)
    if isinstance(config, FeedbackConfig):
        judge = _judge(config.judge, folder / "replies.jsonl", model, resources, same=policy)
        pairs, judged, dropped, details = feedback(policy, judge, asked.prompts, config)
        metrics = _intervals("order_agreement", details)
    else:
        judge = _judge(config.reviser, folder / "replies.jsonl", model, resources, same=policy)
        pairs, judged, dropped, details = constitutional(policy, judge, asked.prompts, config)
        metrics = toxicity_change(judged, seed=config.seed) if config.measure_toxicity else {}
    _write_lines(folder / "judged.jsonl", judged)
    held_out = held_out_of(asked, pairs, config.held_out)
    for path in sorted(examples.glob("*.jsonl")):
        shutil.copyfile(path, out / path.name)
    write_rows(out, "preferences", pairs, held_out, keep=config.made_pairs)
    if isinstance(config.prompts, PromptFile):
        note_data_license(out, "preferences.prompts", config.prompts.license)
    if isinstance(config, ConstitutionConfig):
        note_data_license(out, "preferences", license_of_writer(config.reviser, config.license))
    return Report(
        rows_in=len(pairs) + dropped.total(),
        rows_out=len(pairs),
        unit="pairs",
        dropped=dict(sorted(dropped.items())),
        metrics=metrics,
        details={
            **details,
            "judge": judge.respondent.name,
            "asked": dict(sorted(judge.counts.items())),
            "templates": {each.name: each.identity for each in config.templates},
            "held_out_prompts": len(held_out),
        },
    )


def open_judge(config: EndpointJudge | ModelJudge, memory: Path, resources: Resources) -> Judge:
    """A judge of its own. Raises ValueError as its respondent does."""
    assert isinstance(config, EndpointJudge) or config.path, "the configuration asks for a path"
    return _judge(config, memory, Path(), resources)


def license_of_writer(writer: EndpointJudge | ModelJudge, stated: str | None) -> str | None:
    """Of what a model writes: as stated, or as its folder says. None for the model itself."""
    if stated or isinstance(writer, EndpointJudge) or writer.path is None:
        return stated
    return license_of_model(writer.path)


def _judge(
    config: EndpointJudge | ModelJudge, memory: Path, policy: Path, resources: Resources, *, same: Judge | None = None
) -> Judge:
    """same: the policy, loaded, where it is the judge too."""
    if isinstance(config, EndpointJudge):
        from gristmill.judge.endpoint import Endpoint

        return Judge(Endpoint(config), memory)
    if config.path is None and same is not None and config.verdicts == "written":
        return Judge(same.respondent, memory)
    from gristmill.judge.local import LocalModel

    folder = config.path or policy
    identity = {"kind": "model", **model_content(folder)}
    picks_likeliest = config.verdicts == "likeliest"
    if picks_likeliest:
        identity["verdicts"] = config.verdicts
    return Judge(
        LocalModel(
            folder,
            identity,
            batch_rows=config.batch_rows,
            device=resources.device,
            threads=resources.threads,
            picks_likeliest=picks_likeliest,
        ),
        memory,
    )


def _intervals(name: str, details: dict[str, Any]) -> dict[str, float]:
    found = details.get(name, share(0, 0))
    if found["share"] is None:
        return {}
    return {name: found["share"], f"{name}_ci_low": found["ci_low"], f"{name}_ci_high": found["ci_high"]}


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    run_program(
        "gristmill.judge.preferences",
        JudgedPreferencesRun,
        lambda run, out: run_judged_preferences(run.model, run.examples, out, run.config, run.resources),
    )
