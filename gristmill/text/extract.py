"""Extract: archive files become documents, one Parquet shard a file, and every page gets a verdict.

A cascade of what FineWeb2 and DCLM do in one step each (arXiv:2506.20920, arXiv:2406.11794): resiliparse's text is
cheap and enough to tell the language, so the precise extractor sees only pages in the configured languages. What can
be said of an address, a status or a header is said before any markup is parsed.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from gristmill.crawl.manifest import ManifestEntry, read_manifest
from gristmill.crawl.members import Damage
from gristmill.crawl.records import Ignored, Page, read_responses
from gristmill.crawl.url_filter import UrlFilter
from gristmill.report import Report
from gristmill.shard_cache import ShardCache
from gristmill.shards import Workers, map_shards
from gristmill.text.clean import clean_text
from gristmill.text.config import ExtractConfig
from gristmill.text.costly import MAX_TAGS, may_be_costly, simplify
from gristmill.text.documents import join_verdicts, judged_files, kept, verdict, write_judged
from gristmill.text.extractors import Mode, decode_html, main_text_at_any_depth, opens_as_html, quick_text
from gristmill.text.language import Judgement, LanguageIdentifier, split_by_language
from gristmill.text.reservations import reserved
from gristmill.text.sandbox import Failed, KillableWorker, TooCostly
from gristmill.text.words import text_hash

SAMPLE_CHARS = 200
PARSE_CPU_S = 2.0
"""What a parser may take for a page; two of them see it. The last resort: what costly.py lets pass needs a third."""
CODE = "code"
"""The language of program sources, which no model is asked about."""
T = TypeVar("T")


def run_extract(
    warcs: Path, out: Path, config: ExtractConfig, *, workers: Workers = 1, cache: ShardCache | None = None
) -> Report:
    """Turn the archive files of an artifact of ingest into documents.

    The report counts pages: response records, and damaged ones, whose type is often unknown. A page that is split by
    language counts for each part. Raises ValueError when no page becomes a document.
    """
    shards = [_Shard(warcs, out, number, entry, config) for number, entry in enumerate(read_manifest(warcs))]
    named = [(shard.name, shard) for shard in shards]
    extract = cache.reusing(_extract_shard) if cache else _extract_shard
    try:
        summaries = map_shards(extract, named, out, workers=workers, label="extract", unit="files")
    finally:
        _parser(config.mode).close()
    join_verdicts([shard.part for shard in shards], out)
    counts = {name: _sum(summary[name] for summary in summaries) for name in ("dropped", *_Tally().counts)}
    report = Report(
        rows_in=sum(summary["rows_in"] for summary in summaries),
        rows_out=sum(summary["rows_out"] for summary in summaries),
        unit="pages",
        dropped=counts.pop("dropped"),
        details=counts,
    )
    if report.rows_out == 0:
        raise ValueError(_nothing_left(report, config))
    return report


@dataclass(frozen=True)
class _Shard:
    """One archive file and where its documents go."""

    warcs: Path
    out: Path
    number: int
    entry: ManifestEntry
    config: ExtractConfig

    @property
    def name(self) -> str:
        return f"{self.number:05d}"

    @property
    def part(self) -> Path:
        return self.out / f"part-{self.name}.parquet"

    @property
    def input(self) -> tuple[Path, str]:
        return self.warcs / self.entry.file, self.entry.sha256

    @property
    def facts(self) -> dict[str, Any]:
        return self.entry.model_dump()  # names of file and source, and the licence, stand in the documents

    @property
    def files(self) -> list[Path]:
        return judged_files(self.part)


@dataclass
class _Tally:
    """What was found in one archive file, beside its verdicts.

    Texts by language and by how certain it is; pages whose records were repaired, or whose markup was over a budget and
    simplified, by reason; records that are no pages, by type.
    """

    languages: Counter[str] = field(default_factory=Counter)
    language_status: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    over_budget: Counter[str] = field(default_factory=Counter)
    other_records: Counter[str] = field(default_factory=Counter)

    @property
    def counts(self) -> dict[str, Counter[str]]:
        return vars(self)


class _Dropped(Exception):
    """A page that does not become a document, with the measured value, what is kept, and what is known of the page."""

    def __init__(self, rule: str, value: object, threshold: str, **page: object) -> None:
        super().__init__(rule)
        self.facts = {"rule": rule, "value": value, "threshold": threshold}
        self.page = page


def _extract_shard(shard: _Shard) -> dict[str, Any]:
    tally = _Tally()
    summary = write_judged(shard.part, _judged(shard, tally))
    return {**summary, **tally.counts}


def _judged(shard: _Shard, tally: _Tally) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Each page's verdict, and its document where it becomes one."""
    config, path = shard.config, shard.warcs / shard.entry.file
    reader = _Reader(config, tally)
    for record in read_responses(path, max_body_bytes=config.max_body_bytes):
        if isinstance(record, Ignored):
            tally.other_records[record.record_type] += 1
            continue
        origin = _origin(record, shard.entry)
        try:
            if isinstance(record, Damage):
                raise _Dropped(f"damaged:{record.kind}", record.found, "a whole record")
            for facts in reader.documents_of(record):
                document = _named(origin | facts)
                yield kept(document, stage="extract"), document
        except _Dropped as dropped:
            yield verdict(origin | dropped.page, stage="extract", **dropped.facts), None


def _origin(record: Page | Damage, entry: ManifestEntry) -> dict[str, Any]:
    """The columns of a document that say where it comes from."""
    url = record.url or ""
    place = f"{entry.file}:{record.offset}:{url}"
    is_page = isinstance(record, Page)
    return {
        "doc_id": hashlib.sha256(place.encode("utf-8", "replace")).hexdigest()[:16],
        "url": url,
        "date": (is_page and record.date) or None,
        "source": entry.source,
        "license": (is_page and record.license) or entry.license,
        "warc_file": entry.file,
        "warc_offset": record.offset,
    }


def _named(document: dict[str, Any]) -> dict[str, Any]:
    """A part of a split page has a name of its own."""
    part = document.pop("part", None)
    if part is None:
        return document
    doc_id = hashlib.sha256(f"{document['doc_id']}:{part}".encode()).hexdigest()[:16]
    return document | {"doc_id": doc_id}


@cache
def _parser(mode: Mode) -> KillableWorker:
    """The process that parses for this one: started with the first page, not with each file, and again when killed."""
    # trafilatura says on every odd page what a verdict says already; imports are not the first page's cost
    warm_up = [(logging.disable, (logging.CRITICAL,)), (quick_text, ("<p>",))]
    if mode != "fast":
        warm_up.append((main_text_at_any_depth, ("<p>", "", mode)))
    return KillableWorker(*warm_up)


class _Reader:
    """From a page to the columns of its documents that hold text and language."""

    def __init__(self, config: ExtractConfig, tally: _Tally) -> None:
        self._config, self._tally = config, tally
        self._identifier = LanguageIdentifier(config.language)
        self._urls = UrlFilter(config.url_filter)
        self._parser = _parser(config.mode)

    def documents_of(self, page: Page) -> Iterator[dict[str, Any]]:
        """Raises _Dropped, before the first document."""
        if page.repaired:
            self._tally.repaired[page.repaired] += 1
        if refused := self._urls.refuse(page.url):
            raise _Dropped(*refused, "no address on the lists")
        if page.record_type == "conversion":
            _require_whole(page, self._config)
            yield from self._written(page)
            return
        _refuse(page, self._config)
        html = decode_html(page.body, page.charset)
        if reservation := reserved(page.headers, html, self._config.reservations):
            raise _Dropped(*reservation, "no reservation")
        if may_be_costly(html):
            html = self._harmless(html)
        main, plain = self._parse(quick_text, html)
        # navigation and cookie notices lower the score of a page's true language; a short main text says too little
        sample = main if len(main) >= SAMPLE_CHARS else plain
        self._require_text(sample)
        self._require_wanted(sample)
        text = clean_text(self._main_text(html, main))
        self._require_text(text)
        yield from self._in_wanted_languages(text)

    def _harmless(self, html: str) -> str:
        """The page, or a simpler one where it is over a budget."""
        simple = simplify(html)
        if simple.over_budget is None:
            return html
        unit, found = simple.over_budget
        self._tally.over_budget[unit] += 1
        if simple.is_hopeless:
            raise _Dropped("too_costly", f"at least {found} {unit}", f"{MAX_TAGS} {unit}")
        return simple.markup

    def _main_text(self, html: str, quick: str) -> str:
        if self._config.mode == "fast" and quick.strip():
            return quick  # which main_text would return, too, but the page would be sent once more
        text, was_too_deep = self._parse(main_text_at_any_depth, html, quick, self._config.mode)
        if was_too_deep:
            self._tally.over_budget["levels"] += 1
        return text

    def _require_wanted(self, sample: str) -> None:
        """Raises _Dropped for a page that is surely in a language nobody asked for, before the costly extraction."""
        language, score = self._identifier.identify(sample)
        if language in self._config.languages or score < self._config.min_score(language):
            return
        if self._config.mixed == "split" and set(self._identifier.judge(sample).shares) & set(self._config.languages):
            return
        self._tally.languages[language] += 1
        raise self._foreign(language, score)

    def _written(self, page: Page) -> Iterator[dict[str, Any]]:
        """A text that needs no extraction."""
        is_code = page.mime == "text/x-source"
        text = clean_text(decode_html(page.body, page.charset or "utf-8"), keep_blank_lines=is_code)
        self._require_text(text)
        if not is_code:
            yield from self._in_wanted_languages(text)
            return
        self._tally.languages[CODE] += 1
        yield _columns(text, CODE, 1.0, "certain", [])

    def _in_wanted_languages(self, text: str) -> Iterator[dict[str, Any]]:
        judgement = self._identifier.judge(text)
        self._tally.languages[judgement.language] += 1
        self._tally.language_status[judgement.status] += 1
        if judgement.status == "mixed" and self._config.mixed == "split":
            yield from self._parts(text, judgement)
            return
        language, score = judgement.language, judgement.score
        known = {"language": language, "language_score": score, "language_status": judgement.status}
        if language not in self._config.languages or score < self._config.min_score(language):
            raise self._foreign(language, score, language_status=judgement.status)
        for status in ("mixed", "uncertain"):
            if judgement.status == status and getattr(self._config, status) == "drop":
                raise _Dropped(f"language_{status}", _shares(judgement), "a page in one language, surely", **known)
        yield _columns(text, language, score, judgement.status, judgement.paragraph_languages)

    def _parts(self, text: str, judgement: Judgement) -> Iterator[dict[str, Any]]:
        """A document for each wanted language of a mixed page that has text enough."""
        found = 0
        for language, part in split_by_language(text, judgement):
            if language not in self._config.languages or len(part) < self._config.min_chars:
                continue
            found += 1
            paragraphs = [language for code in judgement.paragraph_languages if code == language]
            score = self._identifier.identify(part)[1]
            yield _columns(part, language, score, "certain", paragraphs) | {"part": language}
        if not found:
            raise _Dropped("language", _shares(judgement), "|".join(self._config.languages))

    def _foreign(self, language: str, score: float, **known: object) -> _Dropped:
        wanted = [f"{code} {self._config.min_score(code):.2f}" for code in self._config.languages]
        known = {"language": language, "language_score": score, **known}
        return _Dropped("language", f"{language} {score:.2f}", "|".join(wanted), **known)

    def _require_text(self, text: str) -> None:
        if len(text) < max(1, self._config.min_chars):
            raise _Dropped("empty", f"{len(text)} characters", f"{self._config.min_chars} characters")

    def _parse(self, parse: Callable[..., T], *arguments: Any) -> T:
        """In the other process, so that no markup costs this one its time or memory."""
        try:
            return self._parser.run(parse, *arguments, cpu_s=PARSE_CPU_S)
        except Failed as error:
            raise _Dropped("unparsable", error, "markup that parses") from error
        except TooCostly as error:
            raise _Dropped("too_costly", error, f"{PARSE_CPU_S:g} CPU-seconds for a parser") from error


def _columns(text: str, language: str, score: float, status: str, paragraph_languages: list[str]) -> dict[str, Any]:
    return {
        "text": text,
        "text_hash": text_hash(text),
        "language": language,
        "language_score": score,
        "language_status": status,
        "paragraph_languages": paragraph_languages,
    }


def _refuse(page: Page, config: ExtractConfig) -> None:
    """What can be said without parsing the markup."""
    if page.status != 200:
        raise _Dropped("status", page.status, "200")
    if page.mime not in ("text/html", "application/xhtml+xml") and not (page.mime == "" and opens_as_html(page.body)):
        raise _Dropped("mime", page.mime or "none", "text/html")
    _require_whole(page, config)


def _require_whole(page: Page, config: ExtractConfig) -> None:
    if page.cut:
        raise _Dropped("too_large", f"> {len(page.body)} bytes", f"{config.max_body_bytes} bytes")
    if page.truncated:
        raise _Dropped("truncated", page.truncated, "a page that was fetched whole")


def _shares(judgement: Judgement) -> str:
    return ", ".join(f"{language} {chars} characters" for language, chars in list(judgement.shares.items())[:3])


def _sum(counts: Any) -> dict[str, int]:
    """Counters added up, in alphabetical order, so that no order of files shows in a report."""
    total = Counter()
    for count in counts:
        total.update(count)
    return dict(sorted(total.items()))


def _nothing_left(report: Report, config: ExtractConfig) -> str:
    rules = ", ".join(f"{count} by {rule}" for rule, count in sorted(report.dropped.items(), key=lambda item: -item[1]))
    languages = Counter(report.details["languages"]).most_common(3)
    found = ", ".join(f"{language} {count}" for language, count in languages) or "none"
    return (
        f"extract: none of {report.rows_in} pages became a document (dropped: {rules or 'none'}); "
        f"languages found: {found}, kept: {', '.join(config.languages)}. "
        "Change extract.languages, extract.min_language_score or extract.min_chars, or name other WARC files"
    )
