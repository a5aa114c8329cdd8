"""How much of a page's true text extraction finds, and how much else: gristmill's modes beside both its extractors.

    python benchmarks/extraction.py [--data ../shared/data] [--json]

Truth: extraction_ground_truth.jsonl.gz. gristmill's modes go through the whole `extract` stage, in every language its
model knows and with no minimum of length; a page that the stage loses counts 0. trafilatura (precision, no
deduplication, with its fallbacks) and resiliparse (main content) are called on the decoded page.
Word F1, precision and recall are of bags of lower-cased words, averaged over pages; intervals are 95 % bootstraps over
pages, and differences are paired. Main figure: the 91 full texts that people wrote. Texts that a model or a tool made
stand apart. Snippets: the share that must be found and is, and the share that must not be found and is.
"""

import argparse
import gzip
import json
import logging
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.crawl.config import IngestConfig, WarcSource
from gristmill.crawl.ingest import run_ingest
from gristmill.crawl.records import Page, read_responses
from gristmill.text.config import ExtractConfig
from gristmill.text.documents import read_documents
from gristmill.text.extract import run_extract
from gristmill.text.extractors import decode_html, quick_text
from gristmill.text.language import LanguageIdentifier

WARCS = ("web-english-00000.warc.gz", "web-multilingual-00000.warc.gz")
MODES = ("precise", "fast", "union")
WORD = re.compile(r"\w+")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with web/packed")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    folder = arguments.data / "web" / "packed"
    with gzip.open(folder / "extraction_ground_truth.jsonl.gz", "rt", encoding="utf-8") as lines:
        truths = [json.loads(line) for line in lines]
    logging.disable(logging.CRITICAL)
    warcs = [folder / name for name in WARCS]
    texts = {mode: through_the_stage(mode, warcs) for mode in MODES}
    texts |= called_directly(warcs, {truth["url"] for truth in truths})
    results = {name: score(found, truths) for name, found in texts.items()}
    gain = paired(texts["precise"], texts["trafilatura"], human(truths), "f1")
    summary = {
        **{f"f1_{name}": results[name]["human"]["f1"] for name in texts},
        **{f"recall_{name}": results[name]["human"]["recall"] for name in texts},
        "precise_minus_trafilatura_f1": gain,
        "union_minus_trafilatura_recall": paired(texts["union"], texts["trafilatura"], human(truths), "recall"),
        "union_minus_resiliparse_recall": paired(texts["union"], texts["resiliparse"], human(truths), "recall"),
        "results": results,
    }
    if arguments.json:
        print(json.dumps(summary))
    else:
        print_tables(results, summary)


def through_the_stage(mode: str, warcs: list[Path]) -> dict[str, str]:
    """Text by URL, as documents have it."""
    with tempfile.TemporaryDirectory() as folder:
        warc_folder, out = Path(folder) / "warcs", Path(folder) / "documents"
        warc_folder.mkdir()
        out.mkdir()
        source = WarcSource(name="web", paths=[str(warc.absolute()) for warc in warcs])
        run_ingest(warc_folder, IngestConfig(sources=[source]))
        config = {"languages": all_languages(), "min_language_score": 0.0, "min_chars": 1, "mode": mode}
        run_extract(warc_folder, out, ExtractConfig.model_validate(config), workers=2)
        return {row["url"]: row["text"] for row in read_documents(out, columns=["url", "text"])}


def all_languages() -> list[str]:
    """Every code that the model may give: quality of extraction is asked for here, not of language identification."""
    return LanguageIdentifier(ExtractConfig().language).codes


def called_directly(warcs: list[Path], urls: set[str]) -> dict[str, dict[str, str]]:
    import trafilatura

    extractors: dict[str, Callable[[str], str | None]] = {
        "trafilatura": lambda html: trafilatura.extract(
            html, favor_precision=True, include_comments=False, include_tables=True, deduplicate=False
        ),
        "resiliparse": lambda html: quick_text(html)[0],
    }
    texts: dict[str, dict[str, str]] = {name: {} for name in extractors}
    for warc in warcs:
        for page in read_responses(warc, max_body_bytes=8_000_000):
            if isinstance(page, Page) and page.url in urls:
                html = decode_html(page.body, page.charset)
                for name, extract in extractors.items():
                    texts[name][page.url] = extract(html) or ""
    return texts


def score(texts: dict[str, str], truths: list[dict[str, Any]]) -> dict[str, Any]:
    written = {"human": human(truths), "made_by_a_model": [t for t in truths if t["source"] == "wceb" and "text" in t]}
    found: dict[str, Any] = {}
    for name, group in written.items():
        scores = np.array([word_scores(texts.get(truth["url"], ""), truth["text"]) for truth in group])
        found[name] = {
            "pages": len(group),
            "lost": sum(truth["url"] not in texts for truth in group),
            **{measure: float(scores[:, at].mean()) for at, measure in enumerate(("f1", "precision", "recall"))},
            "f1_interval": bootstrap(scores[:, 0]),
        }
    for kind in ("with", "without"):
        snippets = [
            flat(snippet) in flat(texts.get(truth["url"], "")) for truth in truths for snippet in truth.get(kind) or ()
        ]
        found[f"snippets_{kind}"] = {"snippets": len(snippets), "found": sum(snippets) / len(snippets)}
    return found


def human(truths: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [truth for truth in truths if truth["kind"] == "fulltext" and truth["origin"] == "human"]


def word_scores(found: str, truth: str) -> tuple[float, float, float]:
    """F1, precision and recall of bags of words."""
    ours, theirs = (Counter(WORD.findall(text.lower())) for text in (found, truth))
    common = (ours & theirs).total()
    if not common:
        return 0.0, 0.0, 0.0
    precision, recall = common / ours.total(), common / theirs.total()
    return 2 * precision * recall / (precision + recall), precision, recall


def paired(left: dict[str, str], right: dict[str, str], truths: list[dict[str, Any]], measure: str) -> dict[str, Any]:
    """Mean difference left − right over the same pages, with its interval."""
    at = ("f1", "precision", "recall").index(measure)
    differences = np.array(
        [
            word_scores(left.get(truth["url"], ""), truth["text"])[at]
            - word_scores(right.get(truth["url"], ""), truth["text"])[at]
            for truth in truths
        ]
    )
    return {"difference": float(differences.mean()), "interval": bootstrap(differences)}


def bootstrap(values: np.ndarray, *, samples: int = 10_000, seed: int = 0) -> list[float]:
    """The 2.5 % and 97.5 % percentiles of the mean over resampled pages."""
    chosen = np.random.default_rng(seed).integers(0, len(values), (samples, len(values)))
    return [float(bound) for bound in np.percentile(values[chosen].mean(axis=1), [2.5, 97.5])]


def flat(text: str) -> str:
    """White space does not count: extractors differ in where they break lines."""
    return " ".join(text.split())


def print_tables(results: dict[str, Any], summary: dict[str, Any]) -> None:
    for group in ("human", "made_by_a_model"):
        print(f"{group} ({next(iter(results.values()))[group]['pages']} pages)")
        print(f"  {'':13}{'F1':>8}{'95 %':>16}{'precision':>11}{'recall':>8}{'lost':>6}")
        for name, result in results.items():
            row = result[group]
            spread = "{:.3f}–{:.3f}".format(*row["f1_interval"])
            numbers = f"{row['f1']:8.4f}{spread:>16}{row['precision']:11.4f}{row['recall']:8.4f}{row['lost']:6}"
            print(f"  {name:13}{numbers}")
    print(f"snippets     {'must':>8}{'must not':>10}")
    for name, result in results.items():
        print(f"  {name:11}{result['snippets_with']['found']:8.3f}{result['snippets_without']['found']:10.3f}")
    for name in ("precise_minus_trafilatura_f1", "union_minus_trafilatura_recall", "union_minus_resiliparse_recall"):
        print(
            f"{name}: {summary[name]['difference']:+.4f} [{summary[name]['interval'][0]:+.4f}, "
            f"{summary[name]['interval'][1]:+.4f}]"
        )


if __name__ == "__main__":
    main()
