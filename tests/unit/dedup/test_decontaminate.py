"""The stage `decontaminate`: planted leaks are found, clean pages stay as they are."""

import json
import random
from pathlib import Path

import pytest

from gristmill.dedup.decontaminate_config import DecontaminateConfig
from gristmill.dedup.decontaminate import run_decontaminate
from gristmill.errors import SourceUnavailable
from gristmill.report import Report
from gristmill.text.config import SplitConfig
from gristmill.text.documents import read_documents, read_shard
from gristmill.text.split import run_split, split_of

SPLIT = SplitConfig(validation=0.1, held_out=0.2)
LEXICON = [f"word{number}" for number in range(5000)]


def prose(seed: int, length: int) -> list[str]:
    return random.Random(seed).choices(LEXICON, k=length)


def lines(words: list[str], *, per_line: int = 12) -> str:
    return "\n".join(" ".join(words[start : start + per_line]) for start in range(0, len(words), per_line))


def url_in(split: str, number: int) -> str:
    """The number-th URL that falls into this split."""
    urls = (f"https://example.org/{candidate}" for candidate in range(100_000))
    return next(
        url for place, url in enumerate(url for url in urls if split_of(url, SPLIT) == split) if place == number
    )


@pytest.fixture
def items(tmp_path: Path) -> list[dict]:
    """Forty benchmark items of 120 words, written where the stage looks for them."""
    rows = []
    for number in range(40):
        words = prose(9000 + number, 120)
        rows.append({"id": f"item{number}", "text": lines(words), "summary": " ".join(words[:7])})
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples/held_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


def run(documents: Path, *, out: str = "out", **config) -> tuple[dict[str, str], dict[str, dict], Report]:
    """Texts and verdicts by URL."""
    folder = documents.parent / out
    folder.mkdir()
    examples = documents.parent / "examples"
    report = run_decontaminate(documents, examples, folder, DecontaminateConfig.model_validate(config), split=SPLIT)
    verdicts = {row["url"]: row for row in read_shard(folder / "verdicts.parquet") if row["decision"] != "kept"}
    return {row["url"]: row["text"] for row in read_documents(folder)}, verdicts, report


def with_leak(seed: int, leak: str) -> str:
    return f"{lines(prose(seed, 300))}\n{leak}\n{lines(prose(seed + 1, 300))}"


def test_every_verbatim_leak_of_fifty_words_is_cut_and_nothing_else(write_documents, items):
    draws = random.Random(0)
    leaks, rows = {}, []
    for number in range(150):
        row = {"url": url_in("train", number), "text": lines(prose(number, 400))}
        if number % 3 == 0:
            words = items[number % 40]["text"].split()
            start = draws.randrange(len(words) - 50)
            leak = lines(words[start : start + 50], per_line=draws.choice([5, 13, 50]))
            leaks[row["url"]] = leak
            row["text"] = with_leak(2 * number, leak.upper() if number % 2 else leak)
        rows.append(row)
    texts, verdicts, report = run(write_documents("documents", rows, shards=3))
    assert set(verdicts) == set(leaks)
    assert report.metrics["trimmed"] == 50
    for row in rows:
        leaked = {word.lower() for word in leaks.get(row["url"], "").split()}
        clean = [line for line in row["text"].split("\n") if not {word.lower() for word in line.split()} <= leaked]
        assert texts[row["url"]] == "\n".join(clean)


def test_a_summary_is_cut_wherever_it_stands_verbatim(write_documents, items):
    text = f"{lines(prose(1, 100))}\nSee also: {items[3]['summary'].title()}.\n{lines(prose(2, 100))}"
    texts, verdicts, _ = run(write_documents("documents", [{"url": url_in("train", 0), "text": text}]))
    assert texts[url_in("train", 0)] == f"{lines(prose(1, 100))}\n{lines(prose(2, 100))}"
    (verdict,) = verdicts.values()
    assert (verdict["decision"], verdict["rule"]) == ("trimmed", "contaminated")
    assert verdict["value"] == "item3: its summary"


def test_a_copy_with_scattered_changes_is_cut(write_documents, items):
    words = items[5]["text"].split()
    for place in range(15, 120, 20):  # no run of 24 words stays whole, and neither does the summary
        words[place] = "changed"
    words[2] = "changed"
    texts, verdicts, _ = run(write_documents("d", [{"url": url_in("train", 0), "text": with_leak(1, lines(words))}]))
    assert verdicts[url_in("train", 0)]["value"].startswith("item5: 0.5")
    assert not set(items[5]["text"].split()[20:100]) <= set(texts[url_in("train", 0)].split())


def test_phrases_that_stand_on_many_pages_contaminate_none(write_documents, items, tmp_path):
    template = " ".join(prose(77, 16))
    with (tmp_path / "examples/held_out.jsonl").open("a") as file:
        text = lines(prose(78, 8) + template.split() + prose(79, 4))
        file.write(json.dumps({"id": "templated", "text": text}) + "\n")
    rows = [{"url": url_in("train", number), "text": with_leak(10 * number, template)} for number in range(30)]
    _, verdicts, _ = run(write_documents("documents", rows))
    assert verdicts == {}


def test_a_page_that_is_mostly_an_item_is_dropped(write_documents, items):
    rows = [{"url": url_in("train", 0), "text": "A heading\n" + items[8]["text"]}]
    texts, verdicts, report = run(write_documents("documents", rows))
    assert texts == {}
    assert verdicts[url_in("train", 0)]["decision"] == "dropped"
    assert report.dropped == {"contaminated": 1}
    assert (report.rows_in, report.rows_out) == (1, 0)


def test_held_out_pages_keep_their_items_and_validation_pages_do_not(write_documents, items):
    rows = [{"url": url_in(split, 0), "text": with_leak(1, items[0]["text"])} for split in ("held_out", "validation")]
    texts, verdicts, _ = run(write_documents("documents", rows))
    assert texts[url_in("held_out", 0)] == rows[0]["text"]
    assert set(verdicts) == {url_in("validation", 0)}


def test_short_items_without_a_summary_are_found_whole_and_shorter_ones_are_counted(write_documents, items, tmp_path):
    short = ["what is the capital of Atlantis", "who is it"]
    (tmp_path / "more.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in short))
    row = {"url": url_in("train", 0), "text": with_leak(1, "Q: What is the capital of Atlantis? And who is it?")}
    _, verdicts, report = run(write_documents("documents", [row]), benchmarks=[str(tmp_path / "more.jsonl")])
    assert verdicts[row["url"]]["value"] == "more:1: its summary"
    assert report.details["items_too_short_to_find"] == 1


def test_pages_that_an_earlier_split_held_out_do_not_train_now(write_documents, items, tmp_path):
    earlier = [{"url": f"https://old.org/{number}", "text": lines(prose(number, 50))} for number in range(200)]
    (tmp_path / "earlier").mkdir()
    run_split(
        write_documents("before", earlier), tmp_path / "earlier", SplitConfig(validation=0.1, held_out=0.2, seed=9)
    )
    index = list(read_shard(tmp_path / "earlier/held_out_index.parquet"))
    kept_off = {row["canonical_url"] for row in index}
    moved = [{**row, "url": f"https://new.org/{number}"} for number, row in enumerate(earlier)]
    for name, rows in (("again", earlier), ("moved", moved)):
        _, verdicts, _ = run(write_documents(name, rows), out=f"out-{name}", against=[str(tmp_path / "earlier")])
        expected = {
            now["url"]
            for then, now in zip(earlier, rows, strict=True)
            if then["url"].removeprefix("https://") in kept_off and split_of(now["url"], SPLIT) == "train"
        }
        assert set(verdicts) == expected
        assert len(expected) > 20


def test_without_items_every_page_stays(write_documents, tmp_path):
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples/held_out.jsonl").touch()
    texts, verdicts, report = run(write_documents("documents", [{"text": "a page"}, {"text": ""}]))
    assert sorted(texts.values()) == ["", "a page"]
    assert verdicts == report.dropped == {}


def test_numbers_in_a_row_are_no_leak(write_documents, items, tmp_path):
    row = " ".join(map(str, range(60)))
    with (tmp_path / "examples/held_out.jsonl").open("a") as file:
        file.write(json.dumps({"id": "array", "text": f"Print the first sixty. {row}"}) + "\n")
    _, verdicts, _ = run(write_documents("d", [{"url": url_in("train", 0), "text": with_leak(1, row)}]))
    assert verdicts == {}


def test_a_line_that_is_no_item_is_named(write_documents, items, tmp_path):
    with (tmp_path / "examples/held_out.jsonl").open("a") as file:
        file.write('{"id": "x"}\n')
    with pytest.raises(ValueError, match=r"held_out.jsonl, line 41 is no benchmark item"):
        run(write_documents("documents", [{"text": "x"}]))


def test_benchmark_files_stand_for_their_content(tmp_path):
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text('{"text": "x"}\n')
    first, second = (DecontaminateConfig(benchmarks=[str(tmp_path / name)]) for name in ("a.jsonl", "b.jsonl"))
    assert first.identity() == second.identity()
    (tmp_path / "b.jsonl").write_text('{"text": "y"}\n')
    assert first.identity() != second.identity()
    with pytest.raises(SourceUnavailable, match=r"cannot read .*missing.jsonl"):
        DecontaminateConfig(benchmarks=["missing.jsonl"]).identity()
