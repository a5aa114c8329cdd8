"""Rows of published instruction and preference sets that hold a benchmark item, as `sft` and `align` look for them.

.venv/bin/python benchmarks/items_in_rows.py [--data ../shared/data] [--json]
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from gristmill.align.data import BENCHMARK_ITEM, Split, read_conversations, read_pairs
from gristmill.align.rows_config import FileRows
from gristmill.dedup.decontaminate_config import DecontaminateConfig, ItemFile, KeptOut

ITEMS = ("arc_easy", "copa", "jeopardy_all", "lambada_openai", "openbook_qa", "piqa", "winogrande")
ROWS = ("sft/rasbt_instruction", "sft/gpteacher_code", "sft/dolly_hhrlhf_small", "preference/hh_harmless_base")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the data sets")
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    arguments = parser.parse_args()
    items = [ItemFile(path=arguments.data / f"eval/{name}.jsonl.gz") for name in ITEMS]
    found = [_looked_through(arguments.data, name, KeptOut(DecontaminateConfig(benchmarks=items))) for name in ROWS]
    if arguments.json:
        print(json.dumps(found))
        return
    for row in found:
        print(f"{row['rows_of']}: {len(row['held'])} of {row['rows']} rows, {row['cpu_s']:.1f} CPU-seconds")
        for where, item in row["held"].items():
            print(f"    {where} holds {item}")


def _looked_through(data: Path, name: str, kept_out: KeptOut) -> dict[str, Any]:
    source = FileRows(paths=[str(data / f"{name}.jsonl.gz")])
    started = time.process_time()
    split: Split[Any] = (read_pairs if name.startswith("preference/") else read_conversations)(source, None, kept_out)
    held = {one.row: one.value for one in split.dropped if one.reason == BENCHMARK_ITEM}
    return {"rows_of": name, "rows": split.rows, "held": held, "cpu_s": time.process_time() - started}


if __name__ == "__main__":
    main()
