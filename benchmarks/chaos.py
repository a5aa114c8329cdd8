"""Failures, injected one at a time into the micro pipeline, and what came of each.

    python benchmarks/chaos.py --work DIR [--rows WORD …] [--minutes 7] [--json]

A row copies the home of an undisturbed run, takes away the artifacts of a stage, disturbs the run that builds them
again, and then runs the same command undisturbed. It passes when that ends with exit 0, every artifact has the bytes of
the undisturbed run and is as its record says, the registry has one version and one champion of it, no process is left
over, and what the row itself expects was seen. `seconds` are those of the second run: what it took to recover.

Finished rows are in DIR/chaos.jsonl and are not repeated. Needs Linux, root for the row of the full disk (a tmpfs of
its own), strace and a C compiler. About a minute a row on two cores.
"""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chaos_ground import Chaos
from chaos_place import MICRO, Place, Server
from chaos_rows import ROWS

REFERENCES = ("undisturbed", "undisturbed-again")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for homes and results; kept between calls")
    parser.add_argument("--rows", nargs="*", help="only rows whose name holds one of these words; they are repeated")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no row after so long")
    parser.add_argument("--json", action="store_true", help="print all results, run nothing")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    results = work / "chaos.jsonl"
    if not arguments.json:
        chaos = prepared(work)
        done = {row["failure"] for row in read(results)}
        deadline = time.monotonic() + 60 * arguments.minutes
        for failure, expected, inject in ROWS:
            asked = any(word in failure for word in arguments.rows) if arguments.rows else failure not in done
            if asked and time.monotonic() < deadline:
                row = one(chaos, failure, expected, inject)
                with results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(
                    f"{'passed' if row['passed'] else 'FAILED'} {failure}: {row['seen']}", file=sys.stderr, flush=True
                )
        chaos.stop()
    latest = {row["failure"]: row for row in read(results)}
    rows = [latest[failure] for failure, _, _ in ROWS if failure in latest]
    missing = [failure for failure, _, _ in ROWS if failure not in latest]
    print(json.dumps({"rows": rows, "missing": missing}, indent=2))


def prepared(work: Path) -> Chaos:
    """Servers, and two homes that nobody disturbs; what two such runs share is what a row is compared with."""
    servers = Place(work / "servers", {})
    started = servers("up")
    if started.code:
        raise RuntimeError(started.said)
    prefect, mlflow = Server(servers.home, "prefect"), Server(servers.home, "mlflow")
    env = {"PREFECT_API_URL": f"{prefect.url}/api", "MLFLOW_TRACKING_URI": mlflow.url}
    references = []
    for name in REFERENCES:
        place = Place(work / name, env)
        if not (place.home / "last_run.json").exists() or place.last_run()["error"]:
            ended = place(
                "run", "--config", str(MICRO), "--set", "resources.workers=2", "--set", f"register.model={name}"
            )
            if ended.code:
                raise RuntimeError(ended.said)
        references.append(place)
    return Chaos(work, env, references[0], references[1], servers, prefect, mlflow)


def one(chaos: Chaos, failure: str, expected: str, inject: Callable[[Chaos], Any]) -> dict[str, Any]:
    """Inject one failure. What goes wrong in the row itself is a row that did not pass."""
    print(f"{failure} …", file=sys.stderr, flush=True)
    try:
        seen, seconds, faults = inject(chaos)
    except Exception as error:
        traceback.print_exc()
        seen, seconds, faults = "", 0.0, [f"{type(error).__name__}: {error}"]
    told = seen + (f"; FAULTS: {'; '.join(faults)}" if faults else "")
    return {
        "failure": failure,
        "expected": expected,
        "seen": told,
        "seconds": round(seconds, 1),
        "passed": not faults,
        "at": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def read(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


if __name__ == "__main__":
    main()
