"""`gristmill judge`: measure a judge before its verdicts are believed."""

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeVar

from cyclopts import Parameter

from gristmill.errors import ConfigError
from gristmill.judge.config import CRITERION

T = TypeVar("T")


def judge(
    config: Annotated[Path, Parameter(help="A YAML file with `judge:`, as in `preferences`.")],
    /,
    *,
    out: Annotated[
        Path, Parameter(help="A folder for replies.jsonl and report.json; replies there are not asked again.")
    ],
    pairs: Annotated[
        Path | None, Parameter(help="JSONL of answers that people compared: chosen, rejected; HH-RLHF's format too.")
    ] = None,
    references: Annotated[
        Path | None, Parameter(help="JSONL of prompts with answers known to be good; errors are planted in them.")
    ] = None,
    own_model: Annotated[
        str | None, Parameter(help="The judge's own name among chosen_model and rejected_model of --pairs.")
    ] = None,
    count: Annotated[int, Parameter(help="Draw so many pairs and so many references.")] = 100,
    criterion: Annotated[str, Parameter(help="What makes an answer good, in words for the judge.")] = CRITERION,
    seed: int = 0,
    as_json: Annotated[bool, Parameter(name="--json", negative="", help="One JSON object on stdout.")] = False,
) -> int:
    """Ask a judge about pairs in both orders: does it favour a place, length, its own model, or wrong answers?"""
    from gristmill.judge.bias import measure, report
    from gristmill.judge.config import JudgeFile
    from gristmill.judge.people import read_people_pairs, read_references
    from gristmill.judge.preferences import open_judge
    from gristmill.schema import Resources
    from gristmill.yaml import load_yaml

    asked = load_yaml(config, [], JudgeFile).judge
    found, dropped = read_people_pairs(pairs) if pairs else ([], {})
    good = read_references(references) if references else []
    if not found and not good:
        raise ConfigError("nothing to ask: give --pairs or --references with at least one row")
    if dropped:
        print(f"{pairs}: left out {dict(dropped)}", file=sys.stderr)
    opened = open_judge(asked, out / "replies.jsonl", Resources())
    findings = measure(
        opened,
        _drawn(found, count, seed),
        _drawn(good, count, seed),
        own_model=own_model,
        criterion=criterion,
        max_tokens=asked.max_tokens,
        seed=seed,
    )
    said = report(opened, findings)
    (out / "report.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(said) if as_json else "\n".join([said["judge"], *(each.sentence for each in findings)]))
    return 0


def _drawn(rows: Sequence[T], count: int, seed: int) -> list[T]:
    return random.Random(seed).sample(list(rows), min(count, len(rows)))
