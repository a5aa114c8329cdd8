"""docs/security.md names tests; each exists, once."""

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/security.md").read_text(encoding="utf-8")))


def test_every_test_that_the_page_names_exists_once():
    defined = Counter(
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert len(NAMED) > 40
    assert {name: defined[name] for name in NAMED if defined[name] != 1} == {}
