"""The stage `decontaminate`: planted leaks are found, clean pages stay as they are."""

import hashlib
import json
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.dedup.decontaminate import run_decontaminate
from gristmill.dedup.decontaminate_config import DecontaminateConfig
from gristmill.dedup.finder import Finder, write_indexes, write_rarity
from gristmill.dedup.item_files import Item
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
    assert verdict["value"] == "examples:item3: its summary"


def test_a_copy_with_scattered_changes_is_cut(write_documents, items):
    words = items[5]["text"].split()
    for place in range(15, 120, 20):  # no run of 20 words stays whole, and neither does the summary
        words[place] = "changed"
    words[2] = "changed"
    texts, verdicts, _ = run(write_documents("d", [{"url": url_in("train", 0), "text": with_leak(1, lines(words))}]))
    # of 113 n-grams, those that hold no changed word: 19 - 7 in each of five runs, 5 before the first, none after
    assert verdicts[url_in("train", 0)]["value"] == f"examples:item5: 19 words, overlap {(5 * 12 + 5) / 113:.2f}"
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


def test_short_items_are_found_whole_and_listed_as_not_covered(write_documents, items, tmp_path):
    short = ["what is the capital of Atlantis", "who is it"]
    (tmp_path / "more.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in short))
    row = {"url": url_in("train", 0), "text": with_leak(1, "Q: What is the capital of Atlantis? And who is it?")}
    _, verdicts, report = run(write_documents("documents", [row]), benchmarks=[str(tmp_path / "more.jsonl")])
    assert verdicts[row["url"]]["value"] == "more:1: 6 words, overlap 1.00"
    listed = [json.loads(line) for line in (tmp_path / "out/not_covered.jsonl").read_text().splitlines()]
    common = {"benchmark": "more"}
    assert listed == [
        {**common, "item_id": "1", "row": 1, "words": 6, "reason": "6 words, fewer than 8", "found_whole": True},
        {**common, "item_id": "2", "row": 2, "words": 3, "reason": "3 words, fewer than 8", "found_whole": False},
    ]
    assert report.metrics["items_not_covered"] == 2
    counted = report.details["benchmarks"]["more"]
    assert (counted["items"], counted["not_covered"], counted["found_whole_only"], counted["found"]) == (2, 2, 1, 1)


def test_what_leaked_from_where_is_a_table_without_text(write_documents, items, tmp_path):
    first, second = url_in("train", 0), url_in("validation", 0)
    rows = [
        {"url": first, "text": with_leak(1, lines(items[4]["text"].split()[20:60])), "source": "web"},
        {"url": second, "text": f"{items[4]['text']}\nshort", "source": "forum"},
        {"url": url_in("train", 1), "text": lines(prose(5, 200))},
    ]
    _, _, report = run(write_documents("documents", rows))
    leaks = list(read_shard(tmp_path / "out/leaks.parquet"))
    assert [(row["benchmark"], row["item_id"], row["url"], row["decision"]) for row in leaks] == [
        ("examples", "item4", first, "trimmed"),
        ("examples", "item4", second, "dropped"),
    ]
    assert [row["words"] for row in leaks] == [40, 120]
    assert leaks[1]["overlap"] == 1
    # 33 n-grams on two pages and 80 on one: of the weighted sum 33 / 2 + 80 the first page holds 33 / 2
    assert leaks[0]["overlap"] == pytest.approx(16.5 / 96.5)
    words_of_items = {word for item in items for word in item["text"].split()}
    assert not any(set(str(value).split()) & words_of_items for row in leaks for value in row.values())
    about = report.details["benchmarks"]["examples"]
    assert {key: about[key] for key in ("items", "found", "pages", "trimmed", "dropped")} == {
        "items": 40, "found": 1, "pages": 2, "trimmed": 1, "dropped": 1,
    }  # fmt: skip
    assert (about["sources"], about["domains"]) == ({"forum": 1, "web": 1}, {"example.org": 2})
    assert about["examples"][0]["item_id"] == "item4"


def test_an_excerpt_of_eight_words_is_cut_and_one_of_seven_is_kept(write_documents, items):
    rows = []
    for number in range(80):
        excerpt = items[number % 40]["text"].split()[30 : 37 + number // 40]
        rows.append({"url": url_in("train", number), "text": with_leak(7 * number, " ".join(excerpt))})
    _, verdicts, _ = run(write_documents("documents", rows))
    assert set(verdicts) == {row["url"] for row in rows[40:]}
    assert {row["threshold"] for row in verdicts.values()} == {"7 words"}


def test_common_speech_of_eight_words_is_kept(write_documents, items, tmp_path):
    common, rare = "you do not have to worry about the", "seven brass herons quarrel beside a frozen canal"
    (tmp_path / "more.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in (common, rare)))
    # pages on which the words of the common phrase follow each other, two by two and never all eight
    pairs = list(zip(common.split(), common.split()[1:], strict=False))
    speech = [f"{lines([word for pair in pairs * 60 for word in (*pair, f'w{seed}')])}" for seed in range(5)]
    rows = [{"url": url_in("train", number), "text": text} for number, text in enumerate(speech)]
    rows += [
        {"url": url_in("train", 5 + number), "text": with_leak(number, text)}
        for number, text in enumerate((common, rare))
    ]
    _, verdicts, report = run(write_documents("documents", rows), benchmarks=[str(tmp_path / "more.jsonl")])
    assert {url: row["value"] for url, row in verdicts.items()} == {url_in("train", 6): "more:2: 8 words, overlap 1.00"}
    assert report.details["benchmarks"]["more"]["not_covered"] == 1


def test_a_whole_short_item_is_found_on_as_many_pages_as_it_has_words(write_documents, items, tmp_path):
    twelve = " ".join(prose(500, 12))
    (tmp_path / "more.jsonl").write_text(json.dumps({"text": twelve}) + "\n")
    for pages, flagged in ((12, 12), (13, 0)):
        rows = [{"url": url_in("train", number), "text": with_leak(number, twelve)} for number in range(pages)]
        documents = write_documents(f"on-{pages}", rows)
        _, verdicts, _ = run(documents, out=f"out-{pages}", benchmarks=[str(tmp_path / "more.jsonl")])
        assert len(verdicts) == flagged


def test_the_template_of_a_benchmark_is_no_item(write_documents, items, tmp_path):
    template = " ".join(prose(600, 20))
    rows = [{"text": f"{template} {' '.join(prose(700 + number, 15))}"} for number in range(30)]
    (tmp_path / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pages = [
        {"url": url_in("train", 0), "text": with_leak(1, template)},
        {"url": url_in("train", 1), "text": with_leak(2, rows[7]["text"])},
    ]
    _, _, report = run(write_documents("documents", pages), benchmarks=[str(tmp_path / "more.jsonl")])
    leaks = list(read_shard(tmp_path / "out/leaks.parquet"))
    assert [(row["url"], row["item_id"]) for row in leaks] == [(url_in("train", 1), "8")]
    assert report.details["benchmarks"]["more"]["not_covered"] == 0


def test_items_of_symbols_are_told_apart_by_their_symbols(write_documents, items, tmp_path):
    draws = random.Random(3)
    puzzles = [" ".join(draws.choices("()[]{}<>", k=60)) for _ in range(50)]
    rows = [{"context": f"Close what is open, please, as in the input: {puzzle}"} for puzzle in puzzles]
    (tmp_path / "brackets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = {"url": url_in("train", 0), "text": with_leak(1, puzzles[20].replace(" ", ""))}
    other = {"url": url_in("train", 1), "text": with_leak(3, "if (a[0] < b[1]) { return c({}); } // - - - - - - -")}
    run(write_documents("documents", [page, other]), benchmarks=[str(tmp_path / "brackets.jsonl")])
    leaks = list(read_shard(tmp_path / "out/leaks.parquet"))
    assert [(row["url"], row["item_id"]) for row in leaks] == [(page["url"], "21")]


@pytest.fixture(scope="module")
def lexicon(tmp_path_factory) -> tuple[Finder, list[Item]]:
    """Sixty items of 50 to 400 words out of ten thousand, and what finds them."""
    folder = tmp_path_factory.mktemp("index")
    known = [f"{left}{right}" for left in "abcdefghij" for right in range(1000)]
    items = [
        Item("lexicon", str(number), number + 1, (" ".join(random.Random(number).choices(known, k=50 + 6 * number)),))
        for number in range(60)
    ]
    write_indexes(folder, items, DecontaminateConfig())
    write_rarity(folder, [])
    return Finder(folder, DecontaminateConfig()), items


@settings(max_examples=200, deadline=None)
@given(st.data(), st.text(max_size=200), st.text(max_size=200), st.sampled_from([str, str.upper, str.title]))
def test_fifty_words_of_an_item_are_found_whatever_surrounds_them(lexicon, data, before, after, spelled):
    finder, items = lexicon
    item = data.draw(st.integers(0, 59))
    sequence = items[item].texts[0].split()
    start = data.draw(st.integers(0, len(sequence) - 50))
    separators = data.draw(
        st.lists(st.sampled_from([" ", "\n", ", ", " — ", "\u00a0", ".\n\n"]), min_size=49, max_size=49)
    )
    leak = "".join(word + gap for word, gap in zip(sequence[start:], [*separators, ""], strict=False))
    found = finder.find(f"{before} {spelled(leak)} {after}")
    assert item in {one.match.item for one in found}
    (longest, *_) = found
    assert longest.match.words >= 50


def test_workers_shards_and_a_kill_do_not_change_a_byte(write_documents, items, tmp_path):
    rows = [
        {
            "url": url_in("train", number),
            "text": with_leak(number, items[number]["text"]) if number % 4 == 0 else "clean",
        }
        for number in range(40)
    ]
    documents = write_documents("documents", rows, shards=5)
    hashes = {}
    for name, workers in (("one", 1), ("two", 2), ("killed", 1)):
        out = tmp_path / name
        out.mkdir()
        if name == "killed":
            shutil.copytree(tmp_path / "one/.done", out / ".done")
            for commit in ("cut-part-00002", "cut-part-00004", "cover-000000000"):
                (out / ".done" / commit).unlink()
            for part in ("part-00000", "part-00001", "part-00003"):
                shutil.copy(tmp_path / f"one/{part}.parquet", out)
        run_decontaminate(documents, tmp_path / "examples", out, DecontaminateConfig(), split=SPLIT, workers=workers)
        files = sorted(path for path in out.iterdir() if path.is_file())
        hashes[name] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert len(hashes["one"]) == 5 + 3
    assert hashes["one"] == hashes["two"] == hashes["killed"]


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
    with pytest.raises(ValueError, match=r"held_out.jsonl:41 is no benchmark item.* It has 'id'; state `fields`"):
        run(write_documents("documents", [{"text": "x"}]))
