"""The source `python_docs`: documentation of installed packages, written as the WARC files a crawler would have made.

Everything after it is the same code path as a crawl. The bytes depend on the modules alone: dates are constant, record
ids are derived from URLs, and gzip headers carry no time.
"""

import io
import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from gristmill.crawl.docs_html import page
from gristmill.crawl.docstrings import ModuleDoc, iter_modules
from gristmill.crawl.python_docs_config import PythonDocsSource
from gristmill.progress import progress
from gristmill.report import Report

# docstrings have no date of capture; a real one would change the bytes from run to run
CAPTURED = "2026-01-01T00:00:00Z"
NEIGHBOURS_EACH_SIDE = 4


def write_warcs(source: PythonDocsSource, out: Path) -> Report:
    """Write `docs-00000.warc.gz`, … with `pages_per_warc` pages each, one record a page.

    rows_in counts the Python files looked at, rows_out the pages. Raises ValueError for a package that is not
    installed, and when no module has enough text.
    """
    skipped: Counter[str] = Counter()
    modules = list(iter_modules(source, skipped))
    if not modules:
        raise ValueError(
            f"source {source.name!r}: no module of {', '.join(source.versions())} has {source.min_module_bytes} bytes "
            "of docstrings; name more packages or lower min_module_bytes"
        )
    neighbours = _neighbours(modules)
    with progress("documentation pages", total=len(modules), unit="pages") as bar:
        for start in range(0, len(modules), source.pages_per_warc):
            pages = modules[start : start + source.pages_per_warc]
            _write_warc(out / f"docs-{start // source.pages_per_warc:05d}.warc.gz", pages, neighbours, source)
            bar.advance(len(pages))
    return Report(
        rows_in=len(modules) + skipped.total(),
        rows_out=len(modules),
        unit="pages",
        dropped=dict(sorted(skipped.items())),
        metrics={"docstring_bytes": float(sum(module.text_bytes for module in modules))},
        details={"pages": dict(sorted(Counter(module.package for module in modules).items()))},
    )


def _neighbours(modules: Sequence[ModuleDoc]) -> dict[str, list[ModuleDoc]]:
    """URL → the modules before and after it in its package's alphabet, for the sidebar."""
    packages: defaultdict[str, list[ModuleDoc]] = defaultdict(list)
    for module in sorted(modules, key=lambda module: module.module):
        packages[module.package].append(module)
    near: dict[str, list[ModuleDoc]] = {}
    for members in packages.values():
        for index, module in enumerate(members):
            window = members[max(index - NEIGHBOURS_EACH_SIDE, 0) : index + NEIGHBOURS_EACH_SIDE + 1]
            near[module.url] = [other for other in window if other is not module]
    return near


def _write_warc(
    path: Path, modules: Sequence[ModuleDoc], neighbours: dict[str, list[ModuleDoc]], source: PythonDocsSource
) -> None:
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True, warc_version="WARC/1.1")
        facts = {"software": "gristmill", "format": "WARC File Format 1.1", "description": source.license}
        info = writer.create_warcinfo_record(path.name, facts)
        info.rec_headers.replace_header("WARC-Record-ID", _record_id(path.name))
        info.rec_headers.replace_header("WARC-Date", CAPTURED)
        writer.write_record(info)
        for module in modules:
            html = page(module, neighbours[module.url]).encode()
            fields = [
                ("Content-Type", "text/html; charset=utf-8"),
                ("Content-Length", str(len(html))),
                ("Content-Language", "en"),
            ]
            record = writer.create_warc_record(
                module.url,
                "response",
                payload=io.BytesIO(html),
                http_headers=StatusAndHeaders("200 OK", fields, protocol="HTTP/1.1"),
                warc_headers_dict={"WARC-Record-ID": _record_id(module.url), "WARC-Date": CAPTURED},
            )
            writer.write_record(record)


def _record_id(name: str) -> str:
    return f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}>"
