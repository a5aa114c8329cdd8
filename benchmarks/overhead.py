"""What orchestration costs: a run's time outside its stages, and a run that reuses everything.

    python benchmarks/overhead.py --config quickstart --home ../overhead [--json]

Starts gristmill's servers in a store of its own, which takes no part in the numbers, then runs the configuration twice
as `gristmill run` does. Of the first run, in a store without artifacts: the command's wall time, from the shell's call
to its end, and the seconds inside stages (building and publishing; what Prefect, MLflow, locks, imports of the command
and the table take is outside). The second run reuses every stage.

`--run FILE` reads a record of an earlier run (`runs/NAME.json`) instead; its seconds count from the command's start to
the table, servers included where they had to be started.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="quickstart")
    parser.add_argument("--home", type=Path, help="a store that holds no artifacts yet; a temporary one by default")
    parser.add_argument("--run", type=Path, help="a record of an earlier run, instead of running")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.run:
        rows = [{"run": asked.run.stem, **_shares(json.loads(asked.run.read_text()), wall_s=None)}]
    else:
        with tempfile.TemporaryDirectory() as temporary:
            rows = _measure(asked.config, (asked.home or Path(temporary)).resolve())
    for row in rows:
        print(
            f"{row['run']}: {row['seconds']:.1f} s, {row['built']} stages built in {row['inside_s']:.1f} s, "
            f"{row['outside_s']:.1f} s outside ({row['outside_percent']:.1f} %)"
        )
    if asked.json:
        print(json.dumps({"config": asked.config, "rows": rows}))


def _measure(config: str, home: Path) -> list[dict[str, Any]]:
    env = {name: value for name, value in os.environ.items() if name not in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI")}
    env |= {"GRISTMILL_HOME": str(home), "PYTHONPATH": str(ROOT)}
    gristmill = [sys.executable, "-m", "flows.cli.main"]
    subprocess.run([*gristmill, "up"], env=env, check=True, stdout=subprocess.DEVNULL)
    try:
        rows = []
        for name in ("uncached", "cached"):
            started = time.monotonic()
            subprocess.run([*gristmill, "run", "--config", config], env=env, check=True, stdout=subprocess.DEVNULL)
            wall_s = time.monotonic() - started
            rows.append({"run": name, **_shares(json.loads((home / "last_run.json").read_text()), wall_s=wall_s)})
        return rows
    finally:
        subprocess.run([*gristmill, "down"], env=env, check=True, stdout=subprocess.DEVNULL)


def _shares(run: dict[str, Any], *, wall_s: float | None) -> dict[str, Any]:
    built = [stage["seconds"] for stage in run["stages"] if stage["state"] == "built"]
    seconds = wall_s or run["seconds"]
    outside_s = seconds - sum(built)
    return {
        "seconds": round(seconds, 2),
        "built": len(built),
        "inside_s": round(sum(built), 2),
        "outside_s": round(outside_s, 2),
        "outside_percent": round(100 * outside_s / seconds, 2),
    }


if __name__ == "__main__":
    main()
