"""The alias `champion` moves when the gate passes, and only then."""

import json
from pathlib import Path

from gristmill.artifacts import Evaluation, Promotion, Registration
from gristmill.evaluate.config import PromoteConfig
from gristmill.report import Report
from gristmill.store import Record
from tasks import tracking
from tasks.stage import stage


def _alias_still_points_there(record: Record, folder: Path) -> str | None:
    """What is wrong when this promotion passed but `champion` is not its version any more."""
    made = json.loads((folder / "promotion.json").read_text())
    if not made["promoted"]:
        return None
    champion = tracking.version_by_alias(made["model"], "champion")
    if champion is None or str(champion["version"]) != made["version"]:
        points_to = f"version {champion['version']}" if champion else "nothing"
        return (
            f"champion of {made['model']} points to {points_to}, this promotion moved it to version {made['version']}"
        )
    return None


@stage(produces=Promotion, version=1, check=_alias_still_points_there)
def promote(
    out: Path,
    registration: Registration,
    evaluation: Evaluation,
    champion: Evaluation | None,
    over: str | None,
    config: PromoteConfig,
) -> Report:
    """Judge the challenger by recorded numbers against `over`, the champion's checkpoint (None when there is none)."""
    from gristmill.evaluate.gate import judge_evaluations

    verdict = judge_evaluations(evaluation.path, champion.path if champion else None, config)
    challenger = json.loads((registration.path / "registration.json").read_text())
    if verdict.passed:
        tracking.move_champion(challenger, over=over)
    made = {**challenger, "promoted": verdict.passed, "over": over, "rules": verdict.rules}
    (out / "promotion.json").write_text(json.dumps(made, indent=2))
    return Report(rows_in=1, rows_out=int(verdict.passed), unit="models", details=made)
