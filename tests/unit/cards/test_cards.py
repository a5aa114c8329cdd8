"""The cards of a model say what the records of everything behind it say, and what nobody recorded."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from audited_store import address_of, make_store
from lxml import html
from markdown_it import MarkdownIt
from small_run import SmallRun, make_run

from gristmill.cards.cards import DATA_CARD, LICENCE, MODEL_CARD, front_matter, licence_text, make_cards, tags_of
from gristmill.cards.facts import CardFacts, Decontamination, Source, gather
from gristmill.cards.limits import limits_of
from gristmill.cards.markdown import inline
from gristmill.html.shown import visible
from gristmill.ledger.config import PricesConfig
from gristmill.model.origin import Origin
from gristmill.report import Report
from gristmill.run_report.scores import Cell, ScoreRow, Scores

PRICES = PricesConfig(machine_hour=7.2)
HOSTILE = [
    "<script>alert(1)</script> & <b>",
    "`code` **bold** __strong__ _em_ ~~gone~~ $x$",
    "![a](b) [c](javascript:d) <e@f.example> https://g.example www.h.example i@j.example | pipe",
    "\\<b> a\u202eb &lt;",
]


@pytest.fixture
def facts(tmp_path: Path) -> CardFacts:
    """A model whose pages are those of tests/unit/audited_store.py."""
    store = make_store(tmp_path)
    evaluation = address_of(store, "evaluate")
    return gather(store, address_of(store, "sft"), evaluation, name="miller", prices=PRICES)


def test_sources_and_languages_are_the_pages_that_went_on(facts: CardFacts):
    assert facts.sources == [Source("web", "CC-BY-4.0", 4, sum(source.chars for source in facts.sources))]
    assert facts.sources[0].chars > 0
    assert facts.languages == [("en", 4)]
    assert facts.licences == {"web": ["CC-BY-4.0"]}


def test_parents_lineage_and_settings(tmp_path: Path):
    first, second = make_run(tmp_path), make_run(tmp_path, beta=0.2, name="night-20260103-030000")
    one, same, other = (
        gather(
            made.store,
            made.records["align"].address,
            made.records["evaluate[align]"].address,
            name="miller",
            prices=PRICES,
        )
        for made in (first, make_run(tmp_path), second)
    )
    address = {label: record.address for label, record in first.records.items()}
    assert one.parents == [address["sft"], address["extract"]]
    assert set(one.lineage) == {address[label] for label in ("align", "sft", "pretrain", "extract", "ingest")}
    assert one.config_hash == same.config_hash != other.config_hash
    assert one.git_commits == ["c0ffee"]
    assert one.parameters == 1000
    assert one.masked == {"email": 3}
    assert one.seconds == 5 * 100
    assert one.kilojoules == 7.2
    assert one.money == pytest.approx(5 * 7.2 * 100 / 3600)


def test_the_tags_of_years_of_nights_fit_and_end_with_a_whole_address(facts: CardFacts):
    behind = [f"documents/dedup-{number:012x}" for number in range(20_000)]
    commits = [f"{number:040x}" for number in range(500)]
    tags = tags_of(replace(facts, lineage=behind, parents=behind, git_commits=commits))
    assert len(tags["lineage"]) <= 100_000  # MLflow takes no more
    assert max(len(value) for name, value in tags.items() if name != "lineage") <= 5000
    for name, words in (("lineage", behind), ("parents", behind), ("git_commit", commits)):
        said, _, left_out = tags[name].rpartition(" …and ")
        assert said.split() == words[: len(said.split())]
        assert left_out == f"{len(words) - len(said.split())} more"


def test_the_cards_say_what_was_dropped_scored_and_spent(tmp_path: Path):
    made = make_run(tmp_path)
    files = make_cards(
        made.store, made.records["align"].address, made.records["evaluate[align]"].address, name="miller", prices=PRICES
    ).files
    assert set(files) == {MODEL_CARD, DATA_CARD, LICENCE}
    assert "| extract | 10 | 8 | pages | min_words 2 |" in files[DATA_CARD]
    assert "Masked, in so many texts: email 3." in files[DATA_CARD]
    assert "| q_accuracy | 0.7500 \\[0.1000, 0.9000\\] |" in files[MODEL_CARD]
    assert "Energy: 7.2 kJ in training. Money: 1 EUR." in files[MODEL_CARD]
    assert "## Safety\n\nNot measured." in files[MODEL_CARD]
    assert "no stage decontaminate is behind this model" in files[MODEL_CARD]


def test_nothing_recorded_is_said_to_be_not_recorded(tmp_path: Path):
    made = SmallRun(tmp_path)
    model = made.publish("checkpoint", "sft", {})
    evaluation = made.publish("evaluation", "evaluate[sft]", {"model": model})
    found = gather(made.store, model, evaluation, name="miller", prices=PRICES)
    found = replace(found, costs=[replace(cost, money=None) for cost in found.costs])
    text = make_cards(made.store, model, evaluation, name="miller", prices=PRICES).files[DATA_CARD]
    assert "| not recorded | | | |" in text
    assert "No masked text is recorded." in text
    assert (found.kilojoules, found.money, found.parameters) == (None, None, None)


def test_nights_of_decontamination_are_one_row_of_a_benchmark(tmp_path: Path):
    made = SmallRun(tmp_path)

    def night(name: str, found: int, trimmed: int, dropped: int) -> str:
        row = {"items": 40, "not_covered": 3, "found": found, "trimmed": trimmed, "dropped": dropped}
        report = Report(rows_in=9, rows_out=9, details={"benchmarks": {"q": row}})
        return made.publish("documents", f"decontaminate[{name}]", {"night": name}, report=report)

    nights = {name: night(name, *counts) for name, counts in {"n1": (7, 2, 1), "n2": (5, 4, 0)}.items()}
    model = made.publish("checkpoint", "sft", nights)
    evaluation = made.publish("evaluation", "evaluate[sft]", {"model": model})
    found = gather(made.store, model, evaluation, name="miller", prices=PRICES)
    assert found.decontamination == [Decontamination("q", 40, 3, 12, 6, 1)]


def rows_of_ones_own(root: Path) -> tuple[SmallRun, str, str]:
    """A run that fine-tuned on 40 rows of two files and aligned on 30 pairs of the hub; `examples` has benchmarks."""
    made = SmallRun(root)
    source = {"kind": "python_docs", "packages": ["numpy"], "license": "BSD-3-Clause"}
    examples = made.publish("examples", "examples", {}, config={"examples": {"source": source}})
    files = {"kind": "files", "license": "CC-BY-NC-4.0", "held_out": 0.05, "content": ["0" * 64, "1" * 64]}
    hub = {"kind": "hub", "license": "card", "content": {"hub": "acme/pairs", "revision": "a" * 40, "files": ["*"]}}
    declared = {"synthesize": "test-terms", "sft": "CC-BY-NC-4.0"}
    tuned = made.publish(
        "checkpoint",
        "sft",
        {"examples": examples},
        config={"sft": {"data": files}},
        report=Report(rows_in=42, rows_out=40, unit="rows", details={"data_license": "CC-BY-NC-4.0"}),
        files={"data_licenses.json": json.dumps(declared)},
    )
    aligned = made.publish(
        "checkpoint",
        "align",
        {"model": tuned, "examples": examples},
        config={"align": {"data": hub, "algorithm": "dpo"}},
        report=Report(rows_in=31, rows_out=30, unit="pairs", details={"data_license": "ODC-BY"}),
        files={"data_licenses.json": json.dumps(declared | {"align": "ODC-BY"})},
    )
    return made, aligned, made.publish("evaluation", "evaluate[align]", {"model": aligned, "examples": examples})


def test_the_data_card_names_rows_of_ones_own_and_what_trained_nothing(tmp_path: Path):
    made, model, evaluation = rows_of_ones_own(tmp_path)
    files = make_cards(made.store, model, evaluation, name="miller", prices=PRICES).files
    rows = files[DATA_CARD].split("## Rows")[1].split("## What was dropped")[0]
    assert "- sft learned from 40 rows (42 read), of 2 files. Licence: CC-BY-NC-4.0." in rows
    assert "- align learned from 30 pairs (31 read), of acme/pairs at aaaaaaa. Licence: ODC-BY." in rows
    assert "- Declared for synthesize: test-terms." in rows
    assert "Declared for sft" not in rows
    (line,) = (line for line in rows.splitlines() if line.startswith("- examples "))
    assert line.endswith("Licence: BSD-3-Clause. No training of this model read these: they are for evaluation.")
    assert DATA_CARD in files[LICENCE]


def test_rows_that_a_training_read_through_another_stage_are_no_benchmark_alone(tmp_path: Path):
    made = SmallRun(tmp_path)
    source = {"kind": "python_docs", "license": "BSD-3-Clause"}
    examples = made.publish("examples", "examples", {}, config={"examples": {"source": source}})
    written = made.publish(
        "examples",
        "synthesize",
        {"examples": examples},
        config={"synthesize": {"license": "test-terms"}},
        files={"data_licenses.json": json.dumps({"synthesize": "test-terms", "synthesize.seeds": "CC-BY-4.0"})},
    )
    learned = {"config": {"sft": {"data": {"kind": "examples"}}}, "report": Report(rows_in=9, rows_out=8, unit="rows")}
    model = made.publish("checkpoint", "sft", {"examples": written}, **learned)
    evaluation = made.publish("evaluation", "evaluate[sft]", {"model": model})
    text = make_cards(made.store, model, evaluation, name="miller", prices=PRICES).files[DATA_CARD]
    assert f"- sft learned from 8 rows (9 read), of {written}, see below." in text
    assert "Licence: test-terms, CC-BY-4.0." in text
    assert "Licence: BSD-3-Clause." in text
    assert "they are for evaluation" not in text


def test_tags_are_text_and_sources_are_json(facts: CardFacts):
    found = replace(facts, decontamination=[Decontamination("q", 40, 3, 7, 2, 1)])
    tags = tags_of(found)
    assert {type(value) for value in tags.values()} == {str}
    assert json.loads(tags["sources"]) == {"web": ["CC-BY-4.0"]}
    assert tags["decontamination"] == "q: 40 items looked for, 3 not covered, 7 found and cut"
    assert tags["parents"].split() == facts.parents
    assert "origin" not in tags


def test_open_weights_bring_their_name_and_licence_along(facts: CardFacts):
    started = replace(facts, origin=Origin(name="acme/base", license="Apache-2.0", content={}))
    assert tags_of(started) | {"origin": "acme/base", "license": "Apache-2.0"} == tags_of(started)
    assert "acme/base, whose licence is Apache-2.0" in licence_text(started)
    assert yaml.safe_load(front_matter(started))["license_name"] == "Apache-2.0"
    assert any("acme/base" in limit for limit in limits_of(started))
    assert "from scratch" in licence_text(facts)
    assert yaml.safe_load(front_matter(facts))["license_name"] == "not-stated"


@pytest.mark.parametrize(("low", "told"), [(0.24, True), (0.26, False)])
def test_a_score_that_a_baseline_reaches_is_told_as_a_limit(facts: CardFacts, low: float, told: bool):
    rows = [ScoreRow("q_accuracy", [Cell(0.3, low, 0.4)]), ScoreRow("q_shortest", [Cell(0.25)])]
    limits = limits_of(replace(facts, scores=Scores(["sft"], rows)))
    assert any("no better than a baseline" in limit for limit in limits) == told


@pytest.mark.parametrize("text", HOSTILE)
def test_recorded_text_is_shown_and_becomes_nothing(text: str):
    commonmark = MarkdownIt("gfm-like", {"html": True, "linkify": False})
    shown = visible(" ".join(text.split()))
    paragraph = html.fragment_fromstring(commonmark.render(f"It is {inline(text)}."))
    assert (paragraph.tag, len(paragraph), paragraph.text_content().strip()) == ("p", 0, f"It is {shown}.")
    cell = html.fragment_fromstring(commonmark.render(f"| a |\n|---|\n| {inline(text)} |")).xpath("//td")
    assert [(each.text_content(), len(each)) for each in cell] == [(shown, 0)]
    assert "https://" not in inline(text)  # some renderers link what is not marked as a link


def test_names_in_cards_stay_readable_as_plain_text():
    assert inline("docs_choice_accuracy 0.33, PSF-2.0 or MIT (see 3.1)") == (
        "docs_choice_accuracy 0.33, PSF-2.0 or MIT (see 3.1)"
    )
