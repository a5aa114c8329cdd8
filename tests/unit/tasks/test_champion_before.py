"""Which checkpoint a challenger has to beat, as the registry tells it."""

import pytest

from gristmill.errors import NotHere
from tasks import registry


@pytest.mark.parametrize(
    ("tags", "over"),
    [
        (None, None),
        ({"gristmill.artifact": "checkpoint/old"}, "checkpoint/old"),
        ({"gristmill.artifact": "checkpoint/new", "gristmill.promoted_over": "checkpoint/old"}, "checkpoint/old"),
        ({"gristmill.artifact": "checkpoint/new", "gristmill.promoted_over": ""}, None),
    ],
)
def test_it_is_the_champion_or_what_the_champion_was_promoted_over(monkeypatch, tags, over):
    found = None if tags is None else {"version": "7", "tags": tags}
    monkeypatch.setattr(registry, "version_by_alias", lambda model, alias: found)
    assert registry.champion_before("gristmill", "checkpoint/new") == over


def test_a_champion_that_gristmill_did_not_register_is_not_taken_for_none(monkeypatch):
    monkeypatch.setattr(registry, "version_by_alias", lambda model, alias: {"version": "7", "tags": {}})
    with pytest.raises(NotHere, match=r"champion of gristmill is version 7, .* no tag gristmill\.artifact"):
        registry.champion_before("gristmill", "checkpoint/new")
