"""What the server is asked to watch for, and which addresses may be told."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.context import TagsContext

from flows.cli import automations
from flows.cli.automations import HEARTBEAT_EVERY_S, SILENT_AFTER_S
from flows.cli.run import _under_prefect, new_session
from gristmill.config import PipelineConfig
from gristmill.errors import ConfigError


def test_a_dead_run_is_closed_within_ten_minutes():
    """The server looks at a bucket at its end, or one whole window later at most; a heartbeat may be missed twice."""
    wanted = automations._silent_runs()
    assert 3 * HEARTBEAT_EVERY_S < SILENT_AFTER_S
    assert 2 * SILENT_AFTER_S < 600
    trigger = wanted.trigger.model_dump(mode="json")
    assert trigger["posture"] == "Proactive"
    assert trigger["within"] == SILENT_AFTER_S
    assert [action.model_dump(mode="json")["state"] for action in wanted.actions] == ["CRASHED"]
    # a challenger that waits for a person has no process, hence no heartbeat
    assert "prefect.flow-run.Suspended" in trigger["expect"]


def test_runs_of_others_on_the_same_server_are_left_alone():
    """Asked of the server's own trigger; events of a flow run name its tags as related resources."""
    from prefect.events.related import tags_as_related_resources
    from prefect.server.events.schemas.automations import EventTrigger
    from prefect.server.events.schemas.events import RelatedResource, Resource

    run = Resource({"prefect.resource.id": "prefect.flow-run.1"})

    def related(tags: set[str]) -> list[RelatedResource]:
        flow = {"prefect.resource.id": "prefect.flow.1", "prefect.resource.role": "flow"}
        return [RelatedResource(root) for root in (flow, *(each.root for each in tags_as_related_resources(tags)))]

    failures = next(each for each in automations._notifications(uuid4()) if each.name.endswith("failures"))
    for wanted in (automations._silent_runs(), failures):
        trigger = EventTrigger.model_validate(wanted.trigger.model_dump(mode="json"))
        assert trigger.covers_resources(run, related({"gristmill", "crawl"}))
        assert not trigger.covers_resources(run, related(set()))
        assert not trigger.covers_resources(run, related({"gristmills"}))


def test_a_run_by_hand_has_the_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path))
    seen = []

    def flow(**options: Any) -> Any:
        return lambda run: lambda **parameters: seen.append(TagsContext.get().current_tags)

    monkeypatch.setattr("prefect.flow", flow)
    config = PipelineConfig.model_validate(
        {"ingest": {"sources": [{"kind": "warc", "name": "a", "paths": ["a.warc"]}]}}
    )
    session = new_session("night", config, frozenset())
    _under_prefect("data", config, "base", session, lambda error=None: {})
    assert seen == [{automations.TAG}]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080/hook",
        "http://10.0.0.7/hook",
        "http://192.168.1.1/hook",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/hook",
        "http://localhost/hook",
        "file:///etc/passwd",
        "ftp://93.184.216.34/hook",
    ],
)
def test_a_private_address_is_refused_and_not_repeated(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRISTMILL_WEBHOOK_URL", f"{url}?token=s3cret")
    monkeypatch.setenv("GRISTMILL_PRIVATE_NETWORKS", "10.1.0.0/16")
    with pytest.raises(ConfigError, match=r"address of a private network|no http") as refused:
        automations._webhook()
    assert "s3cret" not in str(refused.value)


def test_a_private_address_is_taken_where_its_network_is_allowed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRISTMILL_PRIVATE_NETWORKS", "10.1.0.0/16")
    automations._require_allowed("http://10.1.2.3/hook")
    with pytest.raises(ConfigError, match=r"10\.2\.0\.1 is 10\.2\.0\.1"):
        automations._require_allowed("http://10.2.0.1/hook")


def test_nobody_is_told_where_no_address_is_given(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRISTMILL_WEBHOOK_URL", "")
    assert automations._webhook() is None


def test_messages_are_json_whatever_a_run_said():
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    found = {each.name: each for each in automations._notifications(uuid4())}
    assert list(found) == [f"gristmill: tell of {what}" for what in ("failures", "promotions", "challengers")]

    class Run:
        name = "nightly-1"

        class state:
            name = "Failed"
            message = 'disk "full"\n</script>'

    class Moved:
        resource = {"prefect.resource.name": "gristmill"}
        payload = {"version": "7"}

    sandbox = ImmutableSandboxedEnvironment()
    texts = {
        name: json.loads(sandbox.from_string(each.actions[0].model_dump()["payload"]).render(flow_run=Run, event=Moved))
        for name, each in found.items()
    }
    assert texts["gristmill: tell of failures"] == {"text": 'nightly-1 Failed: disk "full"\n</script>'}
    assert texts["gristmill: tell of promotions"] == {"text": "gristmill version 7 is champion now"}
    assert texts["gristmill: tell of challengers"] == {
        "text": "gristmill version 7 passed the gate and waits for approval"
    }
