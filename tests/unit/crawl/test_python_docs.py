"""Documentation of installed packages as a crawl: what is read, how it is written, what extraction gets back."""

import hashlib
import subprocess
import sys
from collections import Counter

import pytest
from warcio.archiveiterator import ArchiveIterator

from gristmill.crawl.docs_html import page
from gristmill.crawl.docstrings import Entry, ModuleDoc, iter_modules
from gristmill.crawl.python_docs import write_warcs
from gristmill.crawl.python_docs_config import PythonDocsSource
from gristmill.crawl.records import Page, read_responses
from gristmill.text.words import words

MODULE = '''
"""Norms of vectors."""

class Space(Base, metaclass=Meta):
    """A normed space."""

    def norm(self, x, *, ord: int = 2) -> float:
        """Return the norm of a vector.

        Parameters
        ----------
        x : array
            The vector, with :class:`~demo.Entry` or ``None`` in it.
        """
        def inner():
            """Not documented."""

    def _hidden(self):
        """Not public."""

if FAST:
    def fast():
        """Do it e.g. fast. And then stop."""

def silent():
    pass
'''


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a package from {path: source}: a folder with the metadata pip writes."""

    def install(name: str, files: dict[str, str]) -> None:
        site = tmp_path / "site"
        info = site / f"{name}-1.5.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
        (info / "RECORD").write_text("".join(f"{path},,\n" for path in files))
        for path, source in files.items():
            (site / path).parent.mkdir(parents=True, exist_ok=True)
            (site / path).write_text(source)
        monkeypatch.syspath_prepend(str(site))

    return install


def source_of(*packages: str, **settings) -> PythonDocsSource:
    return PythonDocsSource(packages=list(packages), **{"min_module_bytes": 1, **settings})


def module_with(docstring: str) -> ModuleDoc:
    entry = Entry("demo.f", "function", "f(x: List[int] = <unset>)", docstring, "")
    return ModuleDoc("https://docs.invalid/demo/demo.html", "demo", "1.5", "demo", "", (entry,))


def test_public_docstrings_are_read_in_source_order_with_public_names(install):
    install("demo", {"demo/_linalg/_norms.py": MODULE})
    (module,) = iter_modules(source_of("demo"))
    assert (module.url, module.version) == ("https://docs.invalid/demo/demo._linalg._norms.html", "1.5")
    assert module.docstring == "Norms of vectors."
    assert [(entry.qualname, entry.kind, entry.signature) for entry in module.entries] == [
        ("demo.Space", "class", "Space(Base, metaclass=Meta)"),
        ("demo.Space.norm", "method", "norm(self, x, *, ord: int=2) -> float"),
        ("demo.fast", "function", "fast()"),
    ]


def test_summary_is_the_first_sentence_and_an_abbreviation_ends_none(install):
    install("demo", {"demo/norms.py": MODULE})
    (module,) = iter_modules(source_of("demo"))
    assert [entry.summary for entry in module.entries] == [
        "A normed space.",
        "Return the norm of a vector.",
        "Do it e.g. fast.",
    ]


def test_files_that_do_not_parse_or_say_too_little_are_counted_and_tests_are_not_looked_at(install):
    install(
        "demo",
        {
            "demo/broken.py": '"""A long enough docstring."""\ndef (:',
            "demo/empty.py": "",
            "demo/tests/helper.py": MODULE,
            "demo/test_norms.py": MODULE,
            "demo/norms.py": MODULE,
        },
    )
    skipped = Counter()
    modules = list(iter_modules(source_of("demo", min_module_bytes=20), skipped))
    assert [module.module for module in modules] == ["demo.norms"]
    assert skipped == {"unparsable": 1, "too_little_text": 1}


def test_a_package_that_is_not_installed_is_named():
    with pytest.raises(ValueError, match=r"'sklearn' is not installed.*scikit-learn"):
        PythonDocsSource(packages=["numpy", "sklearn"]).identity()


def test_identity_is_versions_limits_and_seed_and_neither_weight_nor_path():
    identity = PythonDocsSource(packages=["numpy"], weight=3, max_modules=5).identity()
    assert set(identity["packages"]) == {"numpy"}
    assert identity["max_modules"] == 5
    assert "weight" not in identity
    assert identity == PythonDocsSource(packages=["numpy"], max_modules=5).identity()
    assert identity != PythonDocsSource(packages=["numpy"], max_modules=5, seed=1).identity()


def test_identity_imports_none_of_the_packages():
    program = (
        "import sys; from gristmill.crawl.python_docs_config import PythonDocsSource as S; S().identity();"
        "assert not {'numpy', 'torch', 'pandas', 'warcio'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_packages_take_turns_and_a_smaller_limit_is_the_beginning_of_a_larger_one():
    def names(count: int) -> list[tuple[str, str]]:
        source = PythonDocsSource(packages=["stdlib", "numpy", "click"], max_modules=count)
        return [(module.package, module.module) for module in iter_modules(source)]

    twelve = names(12)
    assert Counter(package for package, _ in twelve) == {"stdlib": 4, "numpy": 4, "click": 4}
    assert names(7) == twelve[:7]


def test_megabytes_of_docstrings_are_a_limit():
    modules = list(iter_modules(PythonDocsSource(packages=["numpy"], max_mb=0.05)))
    sizes = [module.text_bytes for module in modules]
    assert sum(sizes) >= 50_000 > sum(sizes[:-1])


def test_another_seed_takes_other_modules():
    def first(seed: int) -> list[str]:
        return [
            module.module for module in iter_modules(PythonDocsSource(packages=["numpy"], max_modules=3, seed=seed))
        ]

    assert first(0) != first(1)


def test_warcs_are_the_same_bytes_each_time_and_other_readers_read_them(tmp_path):
    source = PythonDocsSource(packages=["stdlib", "click"], max_modules=5, pages_per_warc=3)
    digests = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        report = write_warcs(source, folder)
        digests.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()})
    assert digests[0] == digests[1]
    assert sorted(digests[0]) == ["docs-00000.warc.gz", "docs-00001.warc.gz"]
    assert report.rows_out == 5

    with (tmp_path / "one" / "docs-00000.warc.gz").open("rb") as file:
        records = []
        for record in ArchiveIterator(file, check_digests=True):
            record.content_stream().read()
            assert record.digest_checker is not None
            assert record.digest_checker.passed
            records.append((record.rec_type, record.rec_headers.protocol))
    assert records == [("warcinfo", "WARC/1.1"), *[("response", "WARC/1.1")] * 3]
    found_pages = list(read_responses(tmp_path / "one" / "docs-00000.warc.gz", max_body_bytes=1 << 20))
    pages = [found for found in found_pages if isinstance(found, Page)]
    assert len(pages) == len(found_pages)
    assert [(found.status, found.mime, found.charset) for found in pages] == [(200, "text/html", "utf-8")] * 3
    assert all(found.body.startswith(b"<!DOCTYPE html>") for found in pages)


def test_a_source_without_enough_text_says_what_to_do(install, tmp_path):
    install("demo", {"demo/empty.py": ""})
    with pytest.raises(ValueError, match="no module of demo has 1 bytes of docstrings"):
        write_warcs(source_of("demo"), tmp_path)


def test_docstrings_cannot_break_out_of_the_page():
    html = page(module_with("Return <script>alert(1)</script> & `<b>`."), [])
    assert "<script>" not in html
    assert "<b>" not in html
    assert "f(x: List[int] = &lt;unset&gt;)" in html


@pytest.mark.parametrize(
    ("docstring", "html"),
    [
        ("One\nparagraph.\n\nAnother.", "<p>One paragraph.</p>\n<p>Another.</p>"),
        ("Use ``x`` of :class:`~demo.Y`.", "<p>Use <code>x</code> of <code>demo.Y</code>.</p>"),
        ("Parameters\n----------\nx : int\n    A number.", "<h4>Parameters</h4>\n<p>x : int</p>\n<p>A number.</p>"),
        (">>> f(1)\n1", "<pre>&gt;&gt;&gt; f(1)\n1</pre>"),
        ("As here::\n\n    a = 1\n\n    b = 2\n\nDone.", "<pre>a = 1</pre>\n<pre>b = 2</pre>\n<p>Done.</p>"),
        ("```python\na = 1\n\nb = 2\n```", "<pre>a = 1\n\nb = 2</pre>"),
        ("- one\n- two\n  lines", "<ul><li>one</li><li>two lines</li></ul>"),
        ("Args:\n    x (int): A number\n        of things.", "<p>x (int): A number of things.</p>"),
        (".. note:: Beware.", "<p>Note: Beware.</p>"),
        (":param x: A number.", "<p>x: A number.</p>"),
    ],
)
def test_docstring_habits_become_html(docstring, html):
    assert html in page(module_with(docstring), [])


def test_extraction_gets_the_docstrings_back_and_neither_navigation_nor_footer():
    import trafilatura
    from resiliparse.extract.html2text import extract_plain_text

    recalls: dict[str, list[float]] = {"trafilatura": [], "resiliparse": []}
    modules = list(iter_modules(PythonDocsSource(max_modules=36)))
    for module in modules:
        html = page(module, [near for near in modules[:6] if near is not module])
        extracted = {
            "trafilatura": trafilatura.extract(
                html, favor_precision=True, include_comments=False, include_tables=True, deduplicate=False
            ),
            "resiliparse": extract_plain_text(html, main_content=True),
        }
        wanted = Counter(words(" ".join([module.docstring, *(entry.docstring for entry in module.entries)])))
        for name, text in extracted.items():
            found = wanted & Counter(words(text or ""))
            recalls[name].append(found.total() / wanted.total())
            for boilerplate in ("Modules nearby", "Privacy policy", "rights reserved", "Package Documentation"):
                assert boilerplate not in (text or ""), module.url
    for name, recall in recalls.items():
        assert sum(recall) / len(recall) > 0.95, name
        # resiliparse takes a page that is mostly one list for navigation
        assert sum(share >= 0.9 for share in recall) >= 0.9 * len(recall), name


def test_no_module_is_imported_to_be_read(install):
    install("demo", {"demo/norms.py": MODULE + "\nraise SystemExit"})
    assert [module.module for module in iter_modules(source_of("demo"))] == ["demo.norms"]
    assert "demo" not in sys.modules
