"""Two models side by side: which is right where, which settings differ, and how they are named."""

import math
from pathlib import Path

import pytest
from lxml import html
from small_run import SmallRun, items_of, make_run, scored

from gristmill.html.shell import render_page
from gristmill.run_report.comparison import TEMPLATE, compare, evaluation_of


@pytest.fixture
def two(tmp_path: Path) -> tuple[SmallRun, SmallRun]:
    """Two runs in one store that differ in one setting."""
    return make_run(tmp_path), make_run(tmp_path, beta=0.2, name="night-20260103-030000")


def test_items_settings_and_stages(two: tuple[SmallRun, SmallRun]):
    first, second = (made.records["evaluate[align]"].address for made in two)
    found = compare(two[0].store, ("a", first), ("b", second))
    (row,) = found.items
    assert (row.only_first, row.only_second, row.n) == (0, 0, 4)  # the same answers
    assert [(each.stage, str(each.change)) for each in found.changed] == [("align", "align.beta: 0.2 → 0.1")]
    assert [(each.stage, each.first, each.second) for each in found.flows][:2] == [("ingest", 1, 1), ("extract", 8, 8)]
    assert "was made without the stage decontaminate" in found.unknown
    assert found.models == (two[0].records["align"].address, two[1].records["align"].address)


def test_the_difference_is_the_first_minus_the_second(two: tuple[SmallRun, SmallRun]):
    made = two[0]
    mine, champion = (made.records[f"evaluate[{who}]"].address for who in ("align", "champion"))
    (row,) = compare(made.store, ("mine", mine), ("champion", champion)).items
    (back,) = compare(made.store, ("champion", champion), ("mine", mine)).items
    assert (row.only_first, row.only_second, row.difference.estimate) == (2, 1, 0.25)
    assert (back.only_first, back.only_second, back.difference.estimate) == (1, 2, -0.25)
    assert (row.difference.low, row.difference.high) == pytest.approx((-back.difference.high, -back.difference.low))


def test_benchmarks_without_items_in_common_are_not_compared(tmp_path: Path):
    made = make_run(tmp_path)
    others = [item | {"id": f"other {item['id']}"} for item in items_of("abcd")]
    model = made.records["pretrain"].address
    other = made.publish("evaluation", "evaluate[pretrain]", {"model": model}, report=scored("abcd"), items=others)
    found = compare(made.store, ("mine", made.records["evaluate[align]"].address), ("other", other))
    assert found.items == []
    assert "no two items" in render_page(TEMPLATE, facts=found)


def test_benchmarks_that_were_not_asked_alike_are_not_compared(tmp_path: Path):
    made = make_run(tmp_path)
    model = made.records["pretrain"].address
    report = scored("abcd", definition={"plain_template": "Q: {question}\n"})
    other = made.publish("evaluation", "evaluate[pretrain]", {"model": model}, report=report, items=items_of("abcd"))
    found = compare(made.store, ("mine", made.records["evaluate[align]"].address), ("other", other))
    assert found.items == []
    (refused,) = found.refused
    assert refused.benchmark == "q"
    assert refused.why.endswith(r"plain_template is '{question}\n' here, 'Q: {question}\n' there")
    page = render_page(TEMPLATE, facts=found)
    assert "<strong>q</strong> is not compared: the two were not asked alike" in page
    assert "no two items" not in page


def test_a_base_model_is_compared_as_it_is_asked(tmp_path: Path):
    made = make_run(tmp_path)
    model = made.records["pretrain"].address
    report = scored("abcd", chat=False, prefix_token="<|bos|>")
    other = made.publish("evaluation", "evaluate[pretrain]", {"model": model}, report=report, items=items_of("abcd"))
    found = compare(made.store, ("mine", made.records["evaluate[align]"].address), ("base", other))
    assert ([row.n for row in found.items], found.refused) == ([4], [])


def test_an_item_without_a_finite_score_is_left_out(tmp_path: Path):
    made = make_run(tmp_path)
    lost = [item | {"correct": math.nan if item["id"] == "b" else item["correct"]} for item in items_of("abcd")]
    model = made.records["pretrain"].address
    other = made.publish("evaluation", "evaluate[pretrain]", {"model": model}, report=scored("abcd"), items=lost)
    (row,) = compare(made.store, ("all", other), ("mine", made.records["evaluate[align]"].address)).items
    assert (row.n, row.left_out, row.only_first) == (3, 1, 1)


def test_a_checkpoint_stands_for_its_newest_evaluation(two: tuple[SmallRun, SmallRun]):
    made = two[1]
    mine = made.records["evaluate[align]"].address
    assert evaluation_of(made.store, made.records["align"].address) == mine
    assert evaluation_of(made.store, mine) == mine
    with pytest.raises(ValueError, match="was not evaluated"):
        evaluation_of(made.store, made.records["pretrain"].address)


def test_one_model_given_twice_is_refused(two: tuple[SmallRun, SmallRun]):
    address = two[0].records["evaluate[align]"].address
    with pytest.raises(ValueError, match="give two different"):
        compare(two[0].store, ("a", address), ("b", address))


def test_the_page_escapes_what_it_shows(two: tuple[SmallRun, SmallRun]):
    first, second = (made.records["evaluate[align]"].address for made in two)
    text = render_page(TEMPLATE, facts=compare(two[0].store, ("<script>a</script>", first), ("b\u202e", second)))
    page = html.document_fromstring(text)
    assert page.xpath("//script") == []
    assert page.xpath("//h1")[0].text == "<script>a</script> beside b[U+202E]"
    assert page.xpath("//figure/svg[not(@aria-label)] | //table//th[not(@scope)]") == []
