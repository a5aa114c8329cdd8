"""datatrove's FineWeb pipeline on WARC files, in this process; started by `data_vs_datatrove.py`, prints one JSON line.

Runs in an environment of its own (see benchmarks/README.md), so it imports nothing of gristmill. Blocks, order and
parameters are those of datatrove's `examples/fineweb.py` up to deduplication. Two things differ, for both sides alike:
the language model is the lid.176.ftz that gristmill ships (the .bin of the example cannot be fetched here), and the
writers of excluded documents are left out.
"""

import argparse
import json
import logging
import resource
import sys
import time
from pathlib import Path

import trafilatura  # noqa: F401  its extractor imports it in a child that has one second to answer
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
    URLFilter,
)
from datatrove.pipeline.readers import WarcReader
from datatrove.utils.lid import FT176LID


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("warcs", nargs="+", type=Path)
    parser.add_argument("--lid", type=Path, required=True)
    parser.add_argument("--timeout-s", type=float, default=1.0, help="of a page's extraction; datatrove's default is 1")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    FT176LID.MODEL_URL = str(arguments.lid)  # pyright: ignore[reportAttributeAccessIssue]
    # loading models, tokenizers and lists is paid once a worker, so it is not measured on either side
    kept_of(arguments.warcs[:1], timeout_s=arguments.timeout_s, limit=25)
    started, cpu = time.monotonic(), cpu_seconds()
    kept = kept_of(arguments.warcs, timeout_s=arguments.timeout_s, limit=-1)
    print(json.dumps({"cpu_s": cpu_seconds() - cpu, "wall_s": time.monotonic() - started, "kept": kept}))


def kept_of(warcs: list[Path], *, timeout_s: float, limit: int) -> list[str]:
    """URLs that come out at the end."""
    kept: list[str] = []
    for warc in warcs:
        documents = None
        for block in fineweb(warc, timeout_s, limit):
            documents = block(documents, rank=0, world_size=1)
        kept.extend(document.metadata["url"] for document in documents or ())
    return kept


def fineweb(warc: Path, timeout_s: float, limit: int) -> list[PipelineStep]:
    return [
        WarcReader(str(warc.parent), glob_pattern=warc.name, limit=limit, shuffle_files=False),
        URLFilter(),
        Trafilatura(favour_precision=True, timeout=timeout_s),
        LanguageFilter(),
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
    ]


def cpu_seconds() -> float:
    """Of this process and of its children that have ended: the extractor works in a child."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    sys.exit(main())
