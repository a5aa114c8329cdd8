import bz2

import pytest

from gristmill.crawl.records import Page, read_responses
from gristmill.crawl.text_sources_config import WikipediaSource
from gristmill.crawl.wikipedia_source import write_warcs

SITE = """<siteinfo><sitename>Вікіпедія</sitename><base>https://uk.wikipedia.org/wiki/Головна</base><namespaces>
<namespace key="6" case="first-letter">Файл</namespace><namespace key="0" /></namespaces></siteinfo>"""


def page(title: str, text: str, *, ns: int = 0, more: str = "", model: str = "wikitext") -> str:
    return (
        f"<page><title>{title}</title><ns>{ns}</ns><id>1</id>{more}<revision><id>2</id>"
        f"<timestamp>2024-05-01T10:00:00Z</timestamp><contributor><username>A</username></contributor>"
        f'<model>{model}</model><text bytes="9" xml:space="preserve">{text}</text></revision></page>'
    )


def dump(*pages: str, site: str = SITE, opening: str = "") -> bytes:
    root = '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="uk">'
    return f"{opening}{root}{site}{''.join(pages)}</mediawiki>".encode()


@pytest.fixture
def read(tmp_path):
    """read(content, name=…, **fields) -> (pages, report)"""

    def run(content: bytes, *, name: str = "uk.xml", **fields):
        (tmp_path / name).write_bytes(content)
        source = WikipediaSource.model_validate({"name": "wiki", "paths": [str(tmp_path / name)], **fields})
        report = write_warcs(source, tmp_path / "out")
        files = sorted((tmp_path / "out").glob("*.warc.gz"))
        events = [event for path in files for event in read_responses(path, max_body_bytes=1 << 20)]
        return [event for event in events if isinstance(event, Page)], report

    return run


def test_articles_become_texts_with_title_address_and_date(read):
    (found,), report = read(dump(page("Старий Київ", "'''Київ''' [[Файл:x.jpg]]&lt;ref&gt;y&lt;/ref&gt;— місто")))
    assert found.body.decode() == "Старий Київ\n\nКиїв — місто"
    escaped = "%D0%A1%D1%82%D0%B0%D1%80%D0%B8%D0%B9_%D0%9A%D0%B8%D1%97%D0%B2"
    assert (found.url, found.date) == (f"https://uk.wikipedia.org/wiki/{escaped}", "2024-05-01T10:00:00Z")
    assert report.rows_out == 1


def test_what_is_no_article_is_counted_by_reason(read):
    found, report = read(
        dump(
            page("A", "text"),
            page("Talk:A", "text", ns=1),
            page("B", "x", more='<redirect title="A" />'),
            page("C", "#ПЕРЕНАПРАВЛЕННЯ [[A]]"),
            page("D", "{}", model="json"),
            page("E", "x" * 5_000),
            page("F", " "),
            page("G", "{{only a template}}"),
        ),
        max_page_mb=0.004,
    )
    assert [each.url for each in found] == ["https://uk.wikipedia.org/wiki/A"]
    assert report.dropped == {"empty": 2, "model:json": 1, "namespace": 1, "redirect": 2, "too_large": 1}


def test_a_namespace_can_be_asked_for(read):
    found, _ = read(dump(page("A", "text"), page("Talk:A", "talk", ns=1)), namespaces=[1])
    assert [each.body for each in found] == [b"Talk:A\n\ntalk"]


def test_the_last_revision_of_a_page_counts(read):
    both = page("A", "old").replace("</page>", "") + page("A", "new").partition("<id>1</id>")[2]
    (found,), _ = read(dump(both))
    assert found.body == b"A\n\nnew"


def test_a_dump_of_several_bzip2_streams_is_read(read):
    content = dump(page("A", "a"), page("B", "b"))
    half = len(content) // 2
    found, _ = read(bz2.compress(content[:half]) + bz2.compress(content[half:]), name="uk.xml.bz2")
    assert [each.body for each in found] == [b"A\n\na", b"B\n\nb"]


def test_a_dump_that_breaks_off_gives_the_pages_before(read):
    found, report = read(dump(page("A", "a"), page("B", "b"))[:-60])
    assert [each.body for each in found] == [b"A\n\na"]
    assert report.dropped == {"broken_file": 1}


def test_entities_are_never_expanded(read):
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;"><!ENTITY f SYSTEM "file:///etc/passwd">]>'
    with pytest.raises(ValueError, match=r"uk\.xml of source 'wiki' declares a document type"):
        read(dump(page("A", "&b;&f;"), opening=bomb))


def test_a_file_that_is_no_dump_is_an_error(read):
    with pytest.raises(ValueError, match=r"uk\.xml of source 'wiki' has no page that can be used \(no <page> at all\)"):
        read(dump())
    with pytest.raises(ValueError, match="1 broken_file"):
        read(b"no xml")


def test_the_licence_is_that_of_wikipedia_unless_another_is_given():
    assert WikipediaSource(name="w", paths=["x"]).license == "CC-BY-SA-4.0"
