"""A registered version in a real MLflow: what is logged with it, and that `mlflow models serve` answers with it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from small_run import SmallRun, items_of, make_run, scored
from tiny_chat_model import write_tiny_model

from flows.cli.servers import MLFLOW, free_port, stop_servers
from gristmill.artifacts import Checkpoint, Evaluation
from gristmill.serve.config import RegisterConfig
from tasks.register import register
from tasks.stage import Session, session

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("servers")
    (root / "servers").mkdir()
    daemon = MLFLOW.start(root)
    try:
        deadline = time.monotonic() + 120
        while not MLFLOW.answers(daemon):
            assert time.monotonic() < deadline, MLFLOW.log(root).read_text()
            time.sleep(0.5)
        yield MLFLOW.url(daemon.port)
    finally:
        stop_servers(root, servers=[MLFLOW])


@pytest.fixture(scope="module")
def registered(mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SmallRun, Path]]:
    """A run whose model is real, and the folder of its registration."""
    made = make_run(tmp_path_factory.mktemp("store"))
    inputs = {"model": made.records["sft"].address, "documents": made.records["extract"].address}
    model = made.publish("checkpoint", "align", inputs, config={"align": {"beta": 0.3}}, fill=write_tiny_model)
    scores = made.publish("evaluation", "evaluate[align]", {"model": model}, report=scored("ab"), items=items_of("ab"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
        yield made, _register(made, model, scores, tmp_path_factory.mktemp("registration"))


def test_a_registration_that_is_cut_off_makes_no_second_version(
    mlflow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """MLflow goes away when the version exists and nothing else was said of it; the retry is the schedule's."""
    import mlflow

    made = make_run(tmp_path / "store")
    inputs = {"model": made.records["sft"].address, "documents": made.records["extract"].address}
    model = made.publish("checkpoint", "align", inputs, config={"align": {"beta": 0.7}}, fill=write_tiny_model)
    scores = made.publish("evaluation", "evaluate[align]", {"model": model}, report=scored("ab"), items=items_of("ab"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    (tmp_path / "out").mkdir()
    with monkeypatch.context() as patch:

        def away(*arguments: str) -> None:
            raise mlflow.MlflowException("connection refused")

        patch.setattr(mlflow.MlflowClient, "set_model_version_tag", away)
        with pytest.raises(RuntimeError, match="connection refused"):
            _register(made, model, scores, tmp_path / "out", name="cut-off")
    _register(made, model, scores, tmp_path / "out", name="cut-off")
    (version,) = mlflow.MlflowClient().search_model_versions("name='cut-off'")
    assert version.tags["gristmill.artifact"] == model
    assert version.tags["gristmill.git_commit"] == "c0ffee"


def _register(made: SmallRun, model: str, scores: str, out: Path, *, name: str = "miller") -> Path:
    store = made.store
    with session(Session(store=store, planning=False)):
        register.function(
            *(out, Checkpoint(model, store.path(model)), Evaluation(scores, store.path(scores))),
            RegisterConfig(model=name),
        )
    return out


def test_version_and_cards_are_logged_with_all_that_serving_needs(registered: tuple[SmallRun, Path], tmp_path: Path):
    import mlflow

    made, out = registered
    address = made.records["align"].address
    version: Any = mlflow.MlflowClient().get_model_version_by_alias("miller", "challenger")
    tags = {name.removeprefix("gristmill."): value for name, value in version.tags.items()}
    assert tags["artifact"] == address
    assert tags["evaluation"] == made.records["evaluate[align]"].address
    assert tags["parents"].split() == [made.records[label].address for label in ("sft", "extract")]
    assert json.loads(tags["sources"]) == {"web": ["CC0"]}
    assert tags["decontamination"] == "no stage decontaminate is behind this model"
    assert tags["git_commit"] == "c0ffee"
    assert len(tags["config_hash"]) == 12
    assert "trained from scratch" in version.description

    folder = Path(mlflow.artifacts.download_artifacts("models:/miller@challenger", dst_path=str(tmp_path)))
    for card in ("model_card.md", "data_card.md", "LICENSE.txt"):
        assert (folder / card).read_text() == (out / card).read_text()
    assert "huggingface.co" not in (folder / "LICENSE.txt").read_text()
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert [path for path in written if path.suffix in (".pkl", ".pickle", ".bin", ".pt", ".joblib")] == []
    assert [path for path in written if path.read_bytes()[:2] in (b"\x80\x04", b"\x80\x05")] == []  # pickles begin so
    assert (folder / "model" / "model.safetensors").is_file()
    about = mlflow.models.get_model_info("models:/miller@challenger")
    assert about.metadata == {"task": "llm/v1/chat"}
    assert about.signature
    assert "messages" in about.signature.inputs.input_names()
    assert about.saved_input_example_info
    pinned = (folder / "requirements.txt").read_text().split()
    assert all("==" in each and "+" not in each for each in pinned)
    assert {each.partition("==")[0] for each in pinned} >= {"mlflow", "torch", "transformers", "safetensors"}
    assert str(made.store.root) not in (folder / "MLmodel").read_text()


def test_a_checkpoint_registered_again_keeps_its_version(registered: tuple[SmallRun, Path], tmp_path: Path):
    made, out = registered
    again = _register(made, made.records["align"].address, made.records["evaluate[align]"].address, tmp_path)
    assert (again / "registration.json").read_text() == (out / "registration.json").read_text()


def test_mlflow_serves_the_registered_version_and_it_answers_a_chat(registered: tuple[SmallRun, Path], tmp_path: Path):
    made, _ = registered
    port = free_port(0)
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/miller@challenger"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it looks for uvicorn there
    with (tmp_path / "serve.log").open("w") as log:
        server = subprocess.Popen(
            command, env=os.environ | {"PATH": path}, stdout=log, stderr=log, start_new_session=True
        )
    try:
        asked = {"messages": [{"role": "user", "content": "What does `list.sort` do?"}], "max_tokens": 4}
        (answer,) = _ask(f"http://127.0.0.1:{port}", asked, server, tmp_path / "serve.log")
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(10)
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert isinstance(answer["choices"][0]["message"]["content"], str)
    assert 0 < answer["usage"]["completion_tokens"] <= 4
    assert answer["model"] == f"gristmill:{made.records['align'].address}"


def _ask(url: str, asked: dict[str, Any], server: subprocess.Popen[bytes], log: Path) -> Any:
    deadline = time.monotonic() + 120
    while True:
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            if httpx.get(f"{url}/ping", timeout=5).status_code == 200:
                break
        except httpx.HTTPError:
            time.sleep(0.5)
    answer = httpx.post(f"{url}/invocations", json=asked, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()
