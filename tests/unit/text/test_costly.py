import pytest

from gristmill.text.costly import MAX_ATTRIBUTES, MAX_DEPTH, MAX_TAGS, is_costly, measure_depth, simplify
from gristmill.text.extractors import precise_text, quick_text

LINE = "The miller carries grain to the mill by the river. "
PARAGRAPHS = f"<p>{LINE * 2}</p>" * 5


def nested(depth: int, tag: str = "div") -> str:
    return f"<html><body>{PARAGRAPHS}{f'<{tag}>' * depth}<p>NEEDLE {LINE * 3}</p>{f'</{tag}>' * depth}</body></html>"


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 5_000, 100_000])
def test_text_below_any_depth_is_found_by_both_extractors_once_the_page_is_simplified(depth):
    html = nested(depth)
    assert is_costly(html)
    simple = simplify(html)
    assert measure_depth(simple) <= MAX_DEPTH
    assert "NEEDLE" in quick_text(simple)[0]
    assert "NEEDLE" in precise_text(simple)


def test_depth_is_counted_in_open_elements_and_sloppy_markup_does_not_count():
    assert measure_depth("<html><body><div><p>a<b>c</b></p></div></body></html>") == 4  # p is implied
    assert measure_depth("<p>x" * 5_000) == 0
    assert measure_depth("<br>" * 5_000 + "<ul>" + "<li>x" * 5_000 + "</ul>") == 2
    assert measure_depth("<!-- <div><div> --><script>'<div><div>'</script><div></div>") == 1
    assert measure_depth("</div>" * 100 + "<i><b></i></b></b>") == 2


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ("<div " + " ".join(f'a{i}="v"' for i in range(MAX_ATTRIBUTES + 1)) + ">", "1001 attributes"),
        ("<i>" * (MAX_TAGS + 1), "50001 tags"),
        ("x" * 2_000_001, "2000001 characters"),
        ("<b>" * 300, "300 levels"),
        # made to deceive the quick bound: what is closed was never opened
        ("<div></x>" * 10_000, "10000 levels"),
    ],
)
def test_what_is_over_the_budget_is_named(html, found):
    assert is_costly(html) == found


@pytest.mark.parametrize(
    "html",
    [
        nested(MAX_DEPTH - 2),
        f'<img src="data:image/png;base64,{"A" * 100_000}"><p>{LINE}</p>',
        f'<div class="{"wide " * 5_000}">x</div>',
        "<table>" + "<tr><td>1<td>2" * 2_000 + "</table>",
        f"<script>{'if (a < b && c > d) { x = 1; } ' * 3_000}</script>",
        "",
        "<",
    ],
)
def test_real_if_careless_markup_is_within_the_budget(html):
    assert is_costly(html) is None


def test_simplifying_keeps_text_and_its_order_and_drops_attributes_beyond_the_limit():
    attributes = " ".join(f'a{i}="v{i}"' for i in range(5_000))
    assert simplify(f"<p>one</p><div {attributes}>two</div><p class=x>three</p>") == (
        "<p>one</p><div>two</div><p class=x>three</p>"
    )
    deep = simplify("<div>" * 1_000 + "one<section>two</section>three" + "</div>" * 1_000)
    assert [word for word in ("one", "two", "three") if word in deep] == ["one", "two", "three"]
    assert deep.index("one") < deep.index("two") < deep.index("three")
    assert deep.count("<div>") == deep.count("</div>") == MAX_DEPTH


@pytest.mark.data
def test_hardly_any_real_page_is_over_the_budget(shared_data):
    from gristmill.crawl.records import Page, read_responses
    from gristmill.text.extractors import decode_html

    reasons = [
        is_costly(decode_html(page.body, page.charset))
        for page in read_responses(shared_data / "web/packed/docs-ukrainian-00000.warc.gz", max_body_bytes=8_000_000)
        if isinstance(page, Page)
    ]
    assert len(reasons) > 600
    assert sum(reason is not None for reason in reasons) <= len(reasons) / 100
