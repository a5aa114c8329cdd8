"""The `mix` stage: a seeded sample of the sources in their proportions, within a budget.

Pages queue by `place / share`, where share is their source's weight over the largest weight. Those at 1 and beyond
stay out; a budget lets in the head of the queue. So every prefix of it has the same proportions, and a larger budget
only adds pages. Left out: repeating scarce sources, and mixtures tuned by proxy models.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gristmill.filters.opt_out import OptOut
from gristmill.report import Report
from gristmill.text.documents import (
    document_schema,
    join_verdicts,
    kept,
    read_documents,
    read_shard,
    shard_paths,
    verdict,
    write_judged,
)
from gristmill.text.order import place
from gristmill.tokens.config import MixConfig


def run_mix(documents: Path, out: Path, config: MixConfig) -> Report:
    """Write the sampled documents, and a verdict with the rule `mix` for each of the others.

    Documents on an opt-out list are dropped first, as if they had never been there.
    """
    schema = document_schema(documents)
    queue = _queue(documents, config, OptOut.read(config.opt_out, setting="mix.opt_out"))
    end = _end_of_queue(queue, config)
    kept_documents, kept_chars, dropped = Counter(), Counter(), Counter()

    def judged(path: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
        for document in read_shard(path):
            page = next(pages)
            if page.refused:
                rule, value, threshold = page.refused
                yield verdict(document, stage="mix", rule=rule, value=value, threshold=threshold), None
            elif page.position < end:
                kept_documents[document["source"], document["language"]] += 1
                kept_chars[document["source"], document["language"]] += len(document["text"])
                yield kept(document, stage="mix"), document
            else:
                facts = {"value": f"{page.position:.6f}", "threshold": f"{end:.6f}"}
                yield verdict(document, stage="mix", rule="mix", **facts), None

    pages, rows_out = iter(queue), 0
    for path in shard_paths(documents):
        summary = write_judged(out / path.name, judged(path), schema=schema)
        rows_out += summary["rows_out"]
        dropped.update(summary["dropped"])
    join_verdicts([out / path.name for path in shard_paths(documents)], out, schema=schema)
    if queue and rows_out == 0:
        listed = sum(page.refused is not None for page in queue)
        raise ValueError(
            f"mix.max_documents={config.max_documents}, mix.max_chars={config.max_chars} let none of {len(queue)} "
            f"documents through ({listed} are on opt-out lists); raise them"
        )
    return Report(
        rows_in=len(queue),
        rows_out=rows_out,
        dropped=dict(sorted(dropped.items())),
        metrics={"chars": sum(kept_chars.values())},
        details={
            "kept": [
                {"source": source, "language": language, "documents": count, "chars": kept_chars[source, language]}
                for (source, language), count in sorted(kept_documents.items(), key=lambda entry: str(entry[0]))
            ]
        },
    )


@dataclass(frozen=True)
class _Page:
    position: float  # in the queue; infinite for a source of weight 0
    doc_id: str
    chars: int
    refused: tuple[str, str, str] | None = None  # rule, value and entry of an opt-out list


def _queue(documents: Path, config: MixConfig, opt_out: OptOut) -> list[_Page]:
    """All pages, in document order. Raises ValueError when every source has weight 0."""
    sources = sorted({page["source"] for page in read_documents(documents, columns=["source"])})
    weights = {source: config.weights.get(source, 1.0) for source in sources}
    largest = max(weights.values(), default=1.0)
    if largest == 0:
        raise ValueError(
            f"mix.weights shut out all sources there are ({', '.join(sources)}); give one a weight above 0"
        )
    shares = {source: weight / largest for source, weight in weights.items()}
    return [
        _Page(
            _position(page["doc_id"], shares[page["source"]], config.seed),
            page["doc_id"],
            len(page["text"]),
            opt_out.refuse(page) if opt_out else None,
        )
        for page in read_documents(
            documents, columns=["doc_id", "source", "text", *(["url", "text_hash"] if opt_out else [])]
        )
    ]


def _position(doc_id: str, share: float, seed: int) -> float:
    return place(doc_id, seed=seed, purpose="mix") / share if share > 0 else float("inf")


def _end_of_queue(queue: list[_Page], config: MixConfig) -> float:
    """The first position that stays out: 1, or where the budget ends."""
    chars = 0
    candidates = (page for page in queue if not page.refused)
    for count, page in enumerate(sorted(candidates, key=lambda page: (page.position, page.doc_id))):
        chars += page.chars
        out_of_documents = config.max_documents is not None and count >= config.max_documents
        out_of_chars = config.max_chars is not None and chars > config.max_chars
        if page.position >= 1 or out_of_documents or out_of_chars:
            return min(1.0, page.position)
    return 1.0
