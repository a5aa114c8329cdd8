import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import html as lxml_html
from resiliparse.parse.html import HTMLTree

from gristmill.text import costly
from gristmill.text.costly import MAX_ATTRIBUTES, MAX_DEPTH, MAX_NODES, MAX_OPTIONS, MAX_TAGS, may_be_costly, simplify
from gristmill.text.extractors import precise_text, quick_text

ELEMENT = 1
LINE = "The miller carries grain to the mill by the river. "
PARAGRAPHS = f"<p>{LINE * 2}</p>" * 5
NEEDLE = f"<p>NEEDLE {LINE * 3}</p>"


def nested(depth: int, opening: str = "<div>", closing: str = "</div>") -> str:
    return f"<html><body>{PARAGRAPHS}{opening * depth}{NEEDLE}{closing * depth}</body></html>"


def libxml2_depth(markup: str) -> int:
    root = lxml_html.document_fromstring(markup, parser=lxml_html.HTMLParser(huge_tree=True))
    deepest, level = 0, [root]
    while level:
        deepest, level = deepest + 1, [child for element in level for child in element]
    return deepest


def lexbor_depth(markup: str) -> int:
    tree = HTMLTree.parse(markup)  # which its nodes do not keep alive
    assert tree.document is not None
    deepest, level = 0, [child for child in tree.document.child_nodes if child.type == ELEMENT]
    while level:
        deepest, level = deepest + 1, [child for node in level for child in node.child_nodes if child.type == ELEMENT]
    return deepest


def plain_words(markup: str) -> list[str]:
    return re.findall(r"word\d+", lexbor_text(markup))


def lexbor_text(markup: str) -> str:
    tree = HTMLTree.parse(markup)
    assert tree.body is not None
    return tree.body.text or ""


def lexbor_elements(markup: str) -> int:
    tree = HTMLTree.parse(markup)
    assert tree.body is not None
    return len(tree.body.query_selector_all("*"))


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 5_000, 29_000])
def test_text_below_any_depth_is_found_by_both_extractors_once_the_page_is_simplified(depth):
    simple = simplify(nested(depth))
    assert simple.over_budget == ("levels", depth + 1)  # and the paragraph
    assert libxml2_depth(simple.markup) <= MAX_DEPTH + 3  # html, body, the paragraph
    assert "NEEDLE" in quick_text(simple.markup)[0]
    assert "NEEDLE" in precise_text(simple.markup)


@pytest.mark.parametrize(
    "opening",
    # what an older measure took for harmless: by their first letters, or for end tags that close nothing
    [
        *("<ins>", "<metadata>", "<thing>", "<tracker>", "<div></span>", "<div></p >", "<span><div></span>"),
        *("<div><object></div></object>", "<div title='</div>'>", "<div><!-- </div> -->", "<dd><div>"),
        *("<table><tr><td></div>", "<b><div></b>"),
    ],
)
@pytest.mark.parametrize("depth", [150, 300, 500])
def test_no_text_is_dropped_without_an_error(opening, depth):
    from gristmill.text.extractors import main_text_at_any_depth

    page = nested(depth, opening, "")
    text, was_too_deep = main_text_at_any_depth(page, "", "precise")
    assert "NEEDLE" in text
    assert was_too_deep == (libxml2_depth(page) > 256)


NAMES = re.findall(
    r"\S+",
    "a b i font code div p span ins section article ul ol li dl dt dd table tbody tr td th caption object form h1 h2 "
    "select option button br img x-y svg g math template nobr main center body html",
)
TOKENS = st.one_of(
    st.sampled_from([f"<{name}>" for name in NAMES]),
    st.sampled_from([f"</{name}>" for name in NAMES]),
    st.sampled_from(
        ["<a href='>'>", '<b id="</b>">', "<i id=1>", "<i id=2>", "<!-- </div> -->", "<!-->", "<!--->", "<"]
    ),
    st.integers(0, 99).map(lambda number: f" word{number} "),
)
SOUPS = st.lists(TOKENS, max_size=60).map("".join)


@settings(max_examples=300, deadline=None)
@given(SOUPS)
def test_a_simplified_page_is_as_deep_as_it_looks_to_both_parsers(soup):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(costly, "MAX_DEPTH", 6)
        patch.setattr(costly, "LEVELS_OF_TEXT", 0)
        markup = simplify("<body>" + soup).markup
    assert libxml2_depth(markup) <= 2 + 6 + 1
    # HTML adds a tbody and a tr to a table that has none
    assert lexbor_depth(markup) <= 2 + 6 + 2 * 6


@settings(max_examples=300, deadline=None)
@given(SOUPS)
def test_simplifying_keeps_every_word(soup):
    markup = simplify("<body>" + soup).markup
    assert sorted(plain_words(markup)) == sorted(plain_words("<body>" + soup))


def test_end_tags_that_html_ignores_close_nothing():
    def levels(markup: str) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(costly, "MAX_DEPTH", 0)
            found = simplify(markup).over_budget
        return found[1] if found else 0

    assert levels("<p>x" * 5_000) == 1
    assert levels("<ul>" + "<li>x" * 5_000 + "</ul>") == 2
    assert levels("<table>" + "<tr><td>1<td>2" * 100 + "</table>") == 3
    assert levels("<br>" * 5_000) == 0
    assert levels("<!-- <i><i> --><script>'<i><i>'</script><i></i>") == 1
    assert levels("</div>" * 100 + "<i><b></i></b></b>") == 2
    assert levels("<div><object></div></object>" * 10) == 11
    assert levels("<span><div></span>" * 10) == 20
    assert levels("<div title='</div>'>" * 10) == 10
    assert levels("<svg>" + "<path d='x' />" * 100 + "</svg>") == 1


def formatting(count: int, paragraphs: int) -> str:
    return f"<p>{''.join(f'<b id={i}>' for i in range(count))}</p>" + "<p>x" * paragraphs


@pytest.mark.parametrize(
    ("page", "unit"),
    [
        (nested(10_000), "levels"),
        ("<p>x</p>" * (MAX_TAGS + 1), "tags"),
        (formatting(190, 28_000), "nodes"),
        (formatting(150, 5_000), "nodes"),
        (f"<div {' '.join(f'a{i}' for i in range(MAX_ATTRIBUTES + 1))}>x", "attributes"),
        (f"<div a='>' {' '.join(f'a{i}=1' for i in range(20_000))}>x", "attributes"),
        (f"<div a='<' {' '.join(f'a{i}=1' for i in range(20_000))}>x", "attributes"),
        ("<div " + "".join(f"a{i}='<'" for i in range(5_000)) + ">x", "attributes"),
        ("<select>" + "<option>x" * (2 * MAX_OPTIONS), "options"),
        ("<x>" * 199 + "</y>" * 1_100_000, "steps"),
    ],
)
def test_what_is_over_a_budget_is_noticed_and_named(page, unit):
    assert may_be_costly(page)
    found = simplify(page).over_budget
    assert found is not None
    assert found[0] == unit


def test_nodes_are_those_that_a_parser_makes():
    page = formatting(60, 400)
    made = lexbor_elements(page)
    assert made > 60 * 400
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(costly, "MAX_NODES", 0)
        patch.setattr(costly, "MAX_DEPTH", 1_000)
        over_budget = simplify(page).over_budget
    assert over_budget is not None
    unit, estimated = over_budget
    assert unit == "nodes"
    assert made <= estimated <= 1.1 * made
    assert lexbor_elements(simplify(page).markup) <= 460 + 1


@pytest.mark.parametrize(
    "page",
    [
        nested(MAX_DEPTH - 2),
        f'<img src="data:image/png;base64,{"A" * 100_000}"><p>{LINE}</p>',
        f'<div class="{"wide " * 5_000}">x</div>',
        "<table>" + "<tr><td>1<td>2" * 2_000 + "</table>",
        "<i class='icon'></i><a href=x>y</a>" * 2_000,
        f"<script>{'if (a < b && c > d) { x = 1; } ' * 3_000}</script>",
        "",
        "<",
    ],
)
def test_real_if_careless_markup_is_within_the_budgets(page):
    assert not may_be_costly(page) or simplify(page).over_budget is None


def test_nothing_but_text_between_tags_decides_that_an_element_is_closed_at_once():
    for page in ("<b x='1' y=\"2\" z=3 w>text</b>", "<I>text</i >", "<b ='>text</b>"):
        assert len(costly._CLOSED_AT_ONCE.findall(page)) == 1
    for page in ('<b x=">text</b>">', "<b x='>text</b>'>", "<b><i></b>", "<b x=a'>text</i>", "<b x = '>t</b>'>"):
        assert not costly._CLOSED_AT_ONCE.findall(page)


@pytest.mark.parametrize(
    ("markup", "kept"),
    [
        ("<style-guide>hello</style-guide><p>end", "helloend"),
        ("<title-card>hello</title-card><p>end", "helloend"),
        ("a<!-->b<!--->c<!-- x --!>d<!-- <p> -->e<!-x>f<?x>g</ x>h<!---- x -->i", "abcdefghi"),
        ("a<script>1</script x>b<STYLE>2</style/>c<script>3</scripts></script>d", "abcd"),
        ("a < b & c <3 d", "a < b & c <3 d"),
        ("a<b c='>' d=\">\">e</b ='>'>f", "ae'>f"),
        ("a<!-- x", "a"),
        ("a<b c='", "a"),
    ],
)
def test_tokens_begin_and_end_where_html_says(markup, kept):
    text = lxml_html.document_fromstring("<body>" + simplify(markup).markup).text_content()
    assert text.split() == kept.split()
    if "script" not in markup:  # whose content lexbor counts as text
        assert lexbor_text("<body>" + markup) == text


def test_simplifying_keeps_text_and_its_order_and_drops_attributes_beyond_the_limit():
    attributes = " ".join(f'a{i}="v{i}"' for i in range(5_000))
    assert simplify(f"<p>one</p><div {attributes}>two</div><p class=x>three</p>").markup == (
        "<p>one</p><div>two</div><p class=x>three</p>"
    )
    deep = simplify("<div>" * 1_000 + "one<section>two</section>three" + "</div>" * 1_000).markup
    assert deep.index("one") < deep.index("two") < deep.index("three")
    assert deep.count("<div>") == deep.count("</div>") == MAX_DEPTH
    assert simplify("<textarea>a</textarea><title>b").markup == "<textarea>a</textarea><title>b</title>"


@pytest.mark.parametrize(
    "part",
    # each once took a minute, or would if a regular expression went back
    [
        "<a ",
        "<a" + " " * 1_000,
        "<" + "a" * 1_000,
        "<!-- ",
        "<!--->-",
        "<script>",
        "<a b='",
        "<b a='x<",
        "</",
        "<b =",
        "<b a =",
    ],
)
def test_time_grows_with_the_length_of_the_page(part):
    def cpu_s(length: int) -> float:
        page = "<div>" * 250 + part * (length // len(part))
        started = time.process_time()
        may_be_costly(page)
        simplify(page)
        costly._most_nodes(page, MAX_NODES)
        return time.process_time() - started

    # a million characters in a second: anything quadratic takes minutes
    assert min(cpu_s(1_000_000) for _ in range(3)) < 1


@pytest.mark.data
def test_hardly_any_real_page_is_over_the_budget(shared_data):
    from gristmill.crawl.records import Page, read_responses
    from gristmill.text.extractors import decode_html

    pages = [
        decode_html(page.body, page.charset)
        for page in read_responses(shared_data / "web/packed/docs-ukrainian-00000.warc.gz", max_body_bytes=8_000_000)
        if isinstance(page, Page)
    ]
    assert len(pages) > 600
    assert not [page for page in pages if may_be_costly(page) and simplify(page).over_budget]
