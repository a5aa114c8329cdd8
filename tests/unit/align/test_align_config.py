import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from gristmill.align.config import (
    DpoConfig,
    KtoConfig,
    OrpoConfig,
    RewardModelConfig,
    SftConfig,
    TrainingConfig,
)
from gristmill.align.rows_config import ArtifactRows, FileRows, HubRows
from gristmill.schema import SourceUnavailable


def test_the_same_rows_under_another_path_are_the_same_stage(tmp_path: Path):
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text('{"instruction": "x", "output": "y"}\n')
    first, second = (SftConfig(data=FileRows(paths=[str(tmp_path / name)])) for name in ("a.jsonl", "b.jsonl"))
    assert first.identity() == second.identity()
    (tmp_path / "b.jsonl").write_text('{"instruction": "x", "output": "z"}\n')
    assert first.identity() != second.identity()


def test_a_local_file_is_its_content_under_a_url_too(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text("{}\n")
    plain, url = ([str(tmp_path / "a.jsonl")], [f"file://{tmp_path}/a.jsonl"])
    assert FileRows(paths=plain).content() == FileRows(paths=url).content()


@pytest.mark.parametrize("etag", [None, '"v1"'])
def test_a_remote_file_is_what_its_server_states_else_its_content(etag: str | None):
    held = {"body": b"{}\n"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(held["body"])))
            if etag:
                self.send_header("ETag", etag)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(held["body"])

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        rows = FileRows(paths=[f"http://127.0.0.1:{server.server_port}/a.jsonl"])
        first = rows.content()
        held["body"] = b"[]\n"
        second = rows.content()
        server.shutdown()
    if etag:
        assert first == second == ["v1"]
    else:
        assert first == [hashlib.sha256(b"{}\n").hexdigest()]
        assert second == [hashlib.sha256(b"[]\n").hexdigest()]


def test_a_missing_file_blocks_the_plan_instead_of_being_guessed(tmp_path: Path):
    with pytest.raises(SourceUnavailable, match=r"gone\.jsonl"):
        SftConfig(data=FileRows(paths=[str(tmp_path / "gone.jsonl")])).identity()


def test_how_often_to_log_and_how_to_split_a_batch_of_chat_decide_no_weight():
    assert SftConfig(log_every_steps=1, micro_rows=16).identity() == SftConfig().identity()
    assert DpoConfig(log_every_steps=1).identity() == DpoConfig().identity()
    assert DpoConfig(beta=0.2).identity() != DpoConfig().identity()


@pytest.mark.parametrize("config", [DpoConfig, OrpoConfig, KtoConfig, RewardModelConfig])
def test_how_to_split_a_batch_decides_where_a_loss_is_the_mean_of_each_pass(config: type[TrainingConfig]):
    assert config(micro_rows=16).identity() != config(micro_rows=32).identity()


def test_how_to_split_a_batch_decides_a_classifier(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text("{}\n")
    first, second = (
        SftConfig(task="classification", data=FileRows(paths=[str(tmp_path / "a.jsonl")]), micro_rows=rows)
        for rows in (16, 32)
    )
    assert first.identity() != second.identity()


def test_a_batch_is_a_whole_number_of_forward_passes():
    with pytest.raises(ValueError, match="micro_rows=24 does not divide batch_rows=32"):
        SftConfig(micro_rows=24)


def test_an_interval_needs_two_held_out_rows_or_prompts():
    with pytest.raises(ValueError, match="greater than or equal to 2"):
        SftConfig(held_out_rows=1)
    with pytest.raises(ValueError, match="answered_prompts=1: the difference of one prompt has no interval"):
        DpoConfig(answered_prompts=1)


def test_rows_of_the_hub_are_told_apart_by_commit_without_asking_it():
    first, second = (SftConfig(data=HubRows(hub="maker/rows", revision=digit * 40)) for digit in "12")
    assert first.identity() != second.identity()


def test_an_earlier_artifact_is_an_input_and_not_part_of_the_configuration():
    named = SftConfig(data=ArtifactRows(artifact="examples/examples-0123456789ab"))
    assert named.identity() == SftConfig().identity()
    assert named.earlier_rows == "examples/examples-0123456789ab"


def test_a_declared_licence_is_part_of_what_is_computed(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text("{}\n")
    paths = [str(tmp_path / "a.jsonl")]
    stated = SftConfig(data=FileRows(paths=paths, license="MIT")).identity()
    assert stated != SftConfig(data=FileRows(paths=paths)).identity()
    assert str(tmp_path) not in str(stated)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"loss": "ipo", "length_normalized": True}, "length_normalized is a setting of loss=sigmoid"),
        ({"loss": "robust"}, "label_noise=0.0 with loss=robust"),
        ({"label_noise": 0.1}, "label_noise=0.1 with loss=sigmoid"),
    ],
)
def test_settings_of_another_loss_are_refused(settings: dict, complaint: str):
    with pytest.raises(ValueError, match=complaint):
        DpoConfig(**settings)


def test_kto_compares_rows_of_one_forward_pass():
    with pytest.raises(ValueError, match="micro_rows=1: KTO estimates"):
        KtoConfig(micro_rows=1)
