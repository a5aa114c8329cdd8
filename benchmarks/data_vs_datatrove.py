"""From WARC files to clean English text: gristmill beside datatrove's FineWeb pipeline, same pages, same core.

    python benchmarks/data_vs_datatrove.py --datatrove-python DATATROVE_VENV/bin/python [--rounds 3] [--json]

Each side runs in a process of its own, pinned to one core, in turn; CPU seconds of its children count. Models and
tokenizers are loaded before the measurement on both sides. gristmill's side includes what datatrove's does not do
here: copying and hashing the archives, writing documents, signals and a verdict for every page to Parquet.
Rates are pages per CPU-second over all pages that came in; ratios are medians over the rounds.
How the datatrove environment is made: benchmarks/README.md.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WARCS = {
    "english": ["web-english-00000.warc.gz"],
    "english + multilingual": ["web-english-00000.warc.gz", "web-multilingual-00000.warc.gz"],
}
MODES = ("precise", "fast", "union")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with web/packed")
    parser.add_argument("--datatrove-python", type=Path, required=True, help="python of datatrove's environment")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--skip-heuristics", action="store_true", help="only the pipelines")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--ours", nargs=2, metavar=("MODE", "WARCS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ours:
        mode, warcs = arguments.ours
        print(json.dumps(run_ours(mode, [Path(warc) for warc in warcs.split(os.pathsep)])))
        return
    folder = arguments.data / "web" / "packed"
    results = {
        name: compare([folder / file for file in files], arguments.datatrove_python, arguments.rounds, arguments.core)
        for name, files in WARCS.items()
    }
    both = results["english + multilingual"]
    summary: dict[str, Any] = {
        "ratio_precise": both["ratio"]["precise"],
        "ratio_fast": both["ratio"]["fast"],
        "kept": both["kept"],
        "agreement_pipeline": both["agreement"],
        "results": results,
    }
    if not arguments.skip_heuristics:
        from heuristics import compare_heuristics  # the program beside this one

        summary |= compare_heuristics(arguments.data, arguments.datatrove_python)
    if not arguments.json:
        print_table(results, summary)
    else:
        print(json.dumps(summary))


def compare(warcs: list[Path], datatrove_python: Path, rounds: int, core: int) -> dict[str, Any]:
    """Rates, ratios, kept pages and agreement for one list of files; the sides take turns in every round."""
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in ("datatrove", *MODES)}
    for number in range(rounds):
        for side in runs:
            print(f"round {number + 1} of {rounds}: {side}", file=sys.stderr, flush=True)
            command = datatrove_command(datatrove_python, warcs) if side == "datatrove" else ours_command(side, warcs)
            runs[side].append(run_pinned(command, core))
    pages = runs["precise"][0]["pages"]
    seconds = {side: [run["cpu_s"] for run in each] for side, each in runs.items()}
    kept = {side: set(each[0]["kept"]) for side, each in runs.items()}
    everyone = set(runs["precise"][0]["all"])
    return {
        "pages": pages,
        "pages_per_cpu_s": {side: pages / statistics.median(each) for side, each in seconds.items()},
        "ratio": {
            mode: statistics.median(a / b for a, b in zip(seconds["datatrove"], seconds[mode], strict=True))
            for mode in MODES
        },
        "ratio_range": {
            mode: [f(a / b for a, b in zip(seconds["datatrove"], seconds[mode], strict=True)) for f in (min, max)]
            for mode in MODES
        },
        "rows_per_cpu_s": {
            mode: {
                stage: statistics.median(run["rows_per_cpu_s"][stage] for run in runs[mode])
                for stage in ("extract", "signals", "filter")
            }
            for mode in MODES
        },
        "kept": {side: len(urls) for side, urls in kept.items()},
        # one decision a URL: kept by both or dropped by both
        "agreement": {
            mode: 1 - len(kept[mode] ^ kept["datatrove"]) / len(everyone | kept["datatrove"]) for mode in MODES
        },
    }


def datatrove_command(python: Path, warcs: list[Path]) -> list[str]:
    from gristmill.text.config import LanguageConfig
    from gristmill.text.language_model import model_path

    program = Path(__file__).with_name("datatrove_fineweb.py")
    return [str(python), str(program), "--lid", str(model_path(LanguageConfig())), *map(str, warcs)]


def ours_command(mode: str, warcs: list[Path]) -> list[str]:
    paths = os.pathsep.join(str(warc) for warc in warcs)
    return [sys.executable, __file__, "--datatrove-python", "none", "--ours", mode, paths]


def run_pinned(command: list[str], core: int) -> dict[str, Any]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ARROW_NUM_THREADS": "1"}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[1]} failed with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def run_ours(mode: str, warcs: list[Path]) -> dict[str, Any]:
    """gristmill's ingest, extract, signals and filter, with their defaults for English."""
    with tempfile.TemporaryDirectory() as folder:
        # a few pages first: models and modules are loaded before the measurement, as on the other side
        clean(mode, [first_pages(warcs[0], Path(folder), records=50)], Path(folder) / "warm")
        started, cpu = time.monotonic(), cpu_seconds()
        found = clean(mode, warcs, Path(folder) / "measured")
        return {"cpu_s": cpu_seconds() - cpu, "wall_s": time.monotonic() - started, **found}


def first_pages(warc: Path, folder: Path, *, records: int) -> Path:
    from gristmill.crawl.members import Damage, members

    beginning = folder / "first.warc.gz"
    with warc.open("rb") as file:
        end = 0
        for number, member in enumerate(members(file)):
            assert not isinstance(member, Damage), "the benchmark's archives are whole"
            while member.read():
                pass
            end = member.end
            if number + 1 == records:
                break
        file.seek(0)
        beginning.write_bytes(file.read(end))
    return beginning


def clean(mode: str, warcs: list[Path], folder: Path) -> dict[str, Any]:
    from gristmill.crawl.config import IngestConfig, WarcSource
    from gristmill.crawl.ingest import run_ingest
    from gristmill.filters.config import FilterConfig, SignalsConfig
    from gristmill.filters.filter import run_filter
    from gristmill.filters.signals import run_signals
    from gristmill.text.config import ExtractConfig
    from gristmill.text.documents import read_documents, read_shard
    from gristmill.text.extract import run_extract

    outs = {stage: folder / stage for stage in ("ingest", "extract", "signals", "filter")}
    for out in outs.values():
        out.mkdir(parents=True)
    source = WarcSource(name="web", paths=[str(warc.absolute()) for warc in warcs])
    config = ExtractConfig.model_validate({"languages": ["en"], "mode": mode})
    run_ingest(outs["ingest"], IngestConfig(sources=[source]))
    reports, marks = {}, [cpu_seconds()]
    for stage, run in {
        "extract": lambda: run_extract(outs["ingest"], outs["extract"], config),
        "signals": lambda: run_signals(outs["extract"], outs["signals"], SignalsConfig()),
        "filter": lambda: run_filter(outs["signals"], outs["filter"], FilterConfig()),
    }.items():
        reports[stage] = run()
        marks.append(cpu_seconds())
    rates = zip(reports, marks, marks[1:], strict=False)
    return {
        "pages": reports["extract"].rows_in,
        "rows_per_cpu_s": {stage: reports[stage].rows_in / (end - start) for stage, start, end in rates},
        "kept": [row["url"] for row in read_documents(outs["filter"], columns=["url"])],
        "all": [row["url"] for row in read_shard(outs["extract"] / "verdicts.parquet", columns=["url"])],
    }


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def print_table(results: dict[str, dict[str, Any]], summary: dict[str, Any]) -> None:
    print(f"{'':26}{'side':12}{'pages/CPU-s':>12}{'ratio':>8}{'range':>14}{'kept':>7}{'same decision':>15}")
    for name, result in results.items():
        for side, rate in result["pages_per_cpu_s"].items():
            ratio, agreement = result["ratio"].get(side), result["agreement"].get(side)
            spread = "{:.2f}–{:.2f}".format(*result["ratio_range"][side]) if ratio else ""
            shown = f"{ratio:8.2f}{spread:>14}" if ratio else f"{'1':>8}{'':14}"
            same = f"{agreement:15.3f}" if agreement is not None else ""
            print(f"{name:26}{side:12}{rate:12.1f}{shown}{result['kept'][side]:7}{same}")
        rates = ", ".join(f"{stage} {rate:.0f}" for stage, rate in result["rows_per_cpu_s"]["precise"].items())
        print(f"{'':26}precise, rows in per CPU-second: {rates}")
    for key in ("agreement", "agreement_own_tokens", "heuristics_ms_per_doc"):
        if key in summary:
            print(f"{key}: {summary[key]}")


if __name__ == "__main__":
    main()
