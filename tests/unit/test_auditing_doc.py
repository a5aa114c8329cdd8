"""The queries of docs/auditing.md are run, so that the page does not outlive the columns it names."""

import re
from pathlib import Path

import duckdb
import pytest
from audited_store import make_store

PAGE = Path(__file__).parents[2] / "docs/auditing.md"
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("query", QUERIES)
def test_a_documented_query_answers(query: str, tmp_path: Path):
    make_store(tmp_path)
    rows = duckdb.execute(re.sub(r"'(\w+/[^']*\.parquet)'", rf"'{tmp_path}/\1'", query)).fetchall()
    if "min_alpha_word_ratio" in query:  # that rule dropped nothing here
        assert rows == [(0, 0)]


def test_the_counts_by_rule_are_those_of_the_store(tmp_path: Path):
    make_store(tmp_path)
    (query,) = [query for query in QUERIES if query.startswith("select stage, decision")]
    rows = duckdb.execute(query.replace("'documents/", f"'{tmp_path}/documents/")).fetchall()
    assert sorted(rows) == [
        ("dedup", "dropped", "duplicate_text", 1),
        ("dedup", "dropped", "duplicate_url", 1),
        ("extract", "dropped", "language", 1),
        ("filter", "dropped", "min_words", 1),
        ("filter", "redacted", "pii:email", 1),
    ]
