"""Lines on many pages are cut, the best page's excepted."""

import random
from collections import Counter

import pytest
from generated_pages import prose

from gristmill.dedup import repeated_lines
from gristmill.text.words import words

FOOTER = "All rights reserved by the company of this site"
LICENCE = "Licensed under the terms of some widely known licence"


def pages() -> list[dict]:
    draws = random.Random(5)
    rows = []
    for number in range(60):
        lines = [" ".join(prose(number * 10 + part, 20)) for part in range(5)]
        if draws.random() < 0.7:
            lines.append(FOOTER if draws.random() < 0.5 else FOOTER.upper() + "!")
        if draws.random() < 0.3:
            lines.insert(0, LICENCE)
        lines += ["Home", "Home"]
        domain = "a.org" if number % 2 else "b.org"
        rows.append({"doc_id": f"{number:02d}", "url": f"https://www{number % 3}.{domain}/{number}", "lines": lines})
    return [row | {"text": "\n".join(row.pop("lines"))} for row in rows]


@pytest.mark.parametrize(("within", "few_keys"), [("all", False), ("domain", False), ("domain", True)])
def test_a_line_on_more_pages_than_allowed_stays_on_the_best_alone(
    write_documents, deduplicate, monkeypatch, within, few_keys
):
    if few_keys:
        monkeypatch.setattr(repeated_lines, "_BYTES_PER_LINE", 1 << 23)
    rows = pages()
    result = deduplicate(
        write_documents("documents", rows, shards=4), repeated_lines={"max_documents": 12, "within": within}
    )

    def area(row: dict) -> str:
        return row["url"].split("/")[2].partition(".")[2] if within == "domain" else ""

    def lines(row: dict) -> set:
        found = [tuple(words(line)) for line in row["text"].split("\n")]
        return {(area(row), line) for line in found if len(line) >= 5}

    counts = Counter(line for row in rows for line in lines(row))
    best_first = sorted(rows, key=lambda row: (-len(row["text"]), row["doc_id"]))
    best = {line: row["doc_id"] for row in reversed(best_first) for line in lines(row)}
    assert max(counts.values()) > 12 >= min(counts.values())
    trimmed = 0
    for row in rows:
        expected = "\n".join(
            line
            for line in row["text"].split("\n")
            if counts[key := (area(row), tuple(words(line)))] <= 12 or best[key] == row["doc_id"]
        )
        assert result.survivors[row["doc_id"]]["text"] == expected
        if expected == row["text"]:
            assert row["doc_id"] not in result.verdicts
            continue
        trimmed += 1
        verdict = result.verdicts[row["doc_id"]]
        cut = [key for key in lines(row) if counts[key] > 12 and best[key] != row["doc_id"]]
        assert (verdict["decision"], verdict["rule"], verdict["threshold"]) == ("trimmed", "repeated_lines", "12")
        assert verdict["value"].startswith(f"{len(cut)} line")
        assert verdict["value"].endswith(f"on up to {max(counts[key] for key in cut)} pages")
    assert result.report.metrics["trimmed"] == trimmed > 20
    assert result.report.details["chars_cut"] == sum(
        len(row["text"]) - len(result.survivors[row["doc_id"]]["text"]) for row in rows
    )


def test_copies_of_one_page_make_no_boilerplate(write_documents, deduplicate):
    rows = [{"text": f"{FOOTER}\n{' '.join(prose(1))}"} for _ in range(30)]
    result = deduplicate(write_documents("documents", rows), repeated_lines={"max_documents": 2})
    assert {row["rule"] for row in result.verdicts.values()} == {"duplicate_text"}


def test_a_page_of_repeated_lines_alone_is_dropped(write_documents, deduplicate):
    rows = [{"doc_id": "long", "text": f"{FOOTER}\n{LICENCE}\n{' '.join(prose(2))}"}]
    rows += [{"doc_id": "none", "text": FOOTER}, {"doc_id": "other", "text": LICENCE}]
    result = deduplicate(write_documents("documents", rows), repeated_lines={"max_documents": 1})
    assert list(result.survivors) == ["long"]
    assert result.verdicts["none"]["decision"] == "dropped"
    assert result.verdicts["none"]["value"] == "1 line, on up to 2 pages"
    assert result.report.dropped == {"repeated_lines": 2}
    assert (result.known / "signatures.json").is_file()  # a page without words left is not known


def test_by_default_no_line_is_cut(write_documents, deduplicate):
    rows = [{"text": f"{FOOTER}\n{' '.join(prose(number))}"} for number in range(50)]
    assert not deduplicate(write_documents("documents", rows)).verdicts
