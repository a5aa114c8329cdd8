"""Tasks of lm-evaluation-harness by name, where there is no network."""

import pytest

from gristmill.evaluate.harness_config import HubBenchmark
from gristmill.evaluate.harness_tasks import hub_task

pytestmark = pytest.mark.integration  # lm-eval reads its thousands of task files first


def test_without_a_network_a_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"mine: the items of lm-eval's task 'piqa' .* HF_HUB_OFFLINE=0"):
        hub_task(HubBenchmark(name="mine", task="piqa"))


def test_an_unknown_task_is_refused_by_name():
    with pytest.raises(ValueError, match=r"lm-eval has no single task 'picka'"):
        hub_task(HubBenchmark(name="mine", task="picka"))
