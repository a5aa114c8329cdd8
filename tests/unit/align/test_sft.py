import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from gristmill.align.config import DpoConfig, SftConfig
from gristmill.align.dpo import run_dpo
from gristmill.align.rows_config import FileRows
from gristmill.align.sft import run_sft
from gristmill.align.sft_trainer import AnswerTrainer
from gristmill.model.licenses import is_allowed
from gristmill.model.origin import data_licenses, note_data_license
from gristmill.report import Report
from gristmill.schema import Resources

CPU = Resources(threads=1, device="cpu")
CONFIG = SftConfig(epochs=6, batch_rows=4, micro_rows=2, lr=3e-3, log_every_steps=2)


def fine_tune(model: Path, examples: Path, out: Path, config: SftConfig = CONFIG) -> Report:
    out.mkdir()
    return run_sft(model, examples, out, config, CPU)


@pytest.fixture(scope="module")
def tuned(tiny_model: Path, examples: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    out = tmp_path_factory.mktemp("sft") / "a"
    return out, fine_tune(tiny_model, examples, out)


def test_the_held_out_answers_become_likelier(tuned: tuple[Path, Report]):
    metrics = tuned[1].metrics
    assert metrics["held_out_nats_per_token_change_ci_high"] < 0
    change = metrics["held_out_nats_per_token"] - metrics["held_out_nats_per_token_before"]
    assert metrics["held_out_nats_per_token_change"] == pytest.approx(change)


def test_the_loss_before_is_what_transformers_computes_on_the_assistants_tokens(
    tuned: tuple[Path, Report], tiny_model: Path, examples: Path
):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    nats = tokens = 0.0
    for line in (examples / "sft_held_out.jsonl").read_text().splitlines():
        messages = json.loads(line)["messages"]
        prompt = tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True, return_dict=True)["input_ids"]
        answer = tokenizer(messages[1]["content"] + "<|im_end|>")["input_ids"]
        labels = [-100] * len(prompt) + answer
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([prompt + answer]), labels=torch.tensor([labels])).loss
        nats, tokens = nats + loss.item() * len(answer), tokens + len(answer)
    assert tuned[1].metrics["held_out_nats_per_token_before"] == pytest.approx(nats / tokens, abs=1e-5)


def test_the_first_logged_loss_counts_no_token_of_the_prompt(tuned: tuple[Path, Report]):
    """A model with random weights finds answers (8 of them) as likely as the held-out ones: both about ln 320."""
    first = json.loads((tuned[0] / "metrics.jsonl").read_text().splitlines()[0])
    assert first["step"] == 1
    assert first["loss"] == pytest.approx(tuned[1].metrics["held_out_nats_per_token_before"], abs=0.3)
    assert tuned[1].details["learned_tokens"] < 8 * 20


def test_the_same_run_twice_writes_the_same_bytes(
    tuned: tuple[Path, Report], tiny_model: Path, examples: Path, tmp_path: Path
):
    fine_tune(tiny_model, examples, tmp_path / "b")
    for name in ("model.safetensors", "metrics.jsonl", "config.json", "generation_config.json", "tokenizer.json"):
        first, second = ((folder / name).read_bytes() for folder in (tuned[0], tmp_path / "b"))
        assert hashlib.sha256(first).hexdigest() == hashlib.sha256(second).hexdigest(), name


def test_the_folder_is_a_whole_model_that_stops_at_the_end_of_a_turn(tuned: tuple[Path, Report], tiny_model: Path):
    model = AutoModelForCausalLM.from_pretrained(tuned[0])
    assert 3 in model.generation_config.eos_token_id
    assert model.config.use_cache
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tuned[0] / name).read_bytes() == (tiny_model / name).read_bytes()


def test_the_loss_and_its_gradient_are_those_of_trl(tiny_model: Path, tmp_path: Path):
    rows = [
        {"input_ids": [0, 5, 6, 7, 8, 3], "labels": [-100, -100, -100, 7, 8, 3]},
        {"input_ids": [0, 9, 10, 3], "labels": [-100, 9, -100, 3]},
    ]
    results = []
    for trainer_class in (SFTTrainer, AnswerTrainer):
        arguments = SFTConfig(output_dir=str(tmp_path), bf16=False, use_cpu=True, report_to="none")
        model: Any = AutoModelForCausalLM.from_pretrained(tiny_model)
        trainer = trainer_class(
            model,
            arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(tiny_model),
        )
        loss = trainer.compute_loss(model, trainer.data_collator(rows))
        loss.backward()
        results.append((loss.item(), model.model.embed_tokens.weight.grad))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-5)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-5)


def test_rows_of_a_forward_pass_decide_no_weight(tiny_model: Path, examples: Path, tmp_path: Path):
    """Eight rows in steps of three: the last step has two, so its passes are of two rows, or of one and one."""
    learned = []
    for micro_rows in (1, 3):
        config = SftConfig(epochs=1, batch_rows=3, micro_rows=micro_rows, lr=3e-3)
        fine_tune(tiny_model, examples, tmp_path / str(micro_rows), config)
        learned.append(load_file(tmp_path / str(micro_rows) / "model.safetensors"))
    assert all(torch.allclose(weight, learned[1][name], atol=1e-5) for name, weight in learned[0].items())


def test_padding_with_the_end_of_turn_token_is_refused(tiny_model: Path, examples: Path, tmp_path: Path):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in tiny_model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "pad_token": "<|im_end|>"}))
    with pytest.raises(ValueError, match="needs a token of its own"):
        fine_tune(folder, examples, tmp_path / "out")


def test_what_did_not_learn_measures_the_same_before_and_after_training_in_bfloat16(
    tiny_model: Path, examples: Path, tmp_path: Path
):
    config = CONFIG.model_copy(update={"epochs": 1, "lr": 1e-30, "precision": "bf16"})
    metrics = fine_tune(tiny_model, examples, tmp_path / "out", config).metrics
    assert metrics["held_out_nats_per_token_change"] == 0


def test_a_declared_licence_stays_with_the_model_and_with_those_made_from_it(tiny_model: Path, tmp_path: Path):
    rows = [{"instruction": f"Say {n}", "output": str(n)} for n in range(40)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    data = FileRows(paths=[str(tmp_path / "a.jsonl")], license="CC-BY-NC-4.0", held_out=0.2)
    config = SftConfig(data=data, epochs=1, batch_rows=8, micro_rows=8)
    report = fine_tune(tiny_model, tmp_path, tmp_path / "first", config)
    assert report.details["data_license"] == "CC-BY-NC-4.0"
    assert report.dropped == {"duplicate": 1}
    assert (report.rows_in, report.details["formats"]) == (41, {"alpaca": 40})
    assert json.loads((tmp_path / "first/dropped.jsonl").read_text()) == {"row": "a.jsonl:41", "reason": "duplicate"}
    pairs = [{"prompt": f"Say {n}", "chosen": str(n), "rejected": "no"} for n in range(40)]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    config = DpoConfig(data=FileRows(paths=[str(tmp_path / "b.jsonl")], license="MIT", held_out=0.2))
    (tmp_path / "second").mkdir()
    run_dpo(tmp_path / "first", None, None, tmp_path / "second", config, CPU)
    assert data_licenses(tmp_path / "second") == {"sft": "CC-BY-NC-4.0", "align": "MIT"}


def test_a_second_declaration_of_a_stage_stands_beside_the_first(tmp_path: Path):
    for license in ("CC-BY-NC-4.0", None, "MIT", "CC-BY-NC-4.0", "Apache-2.0 AND MIT"):
        note_data_license(tmp_path, "sft", license)
    note_data_license(tmp_path, "align", "MIT")
    assert data_licenses(tmp_path) == {"sft": "CC-BY-NC-4.0 AND MIT AND Apache-2.0", "align": "MIT"}


@pytest.mark.parametrize(
    "choice",
    [
        "MIT OR Apache-2.0",
        "(MIT AND BSD-3-Clause) OR Apache-2.0",
        "Apache-2.0 OR (MIT AND (BSD-3-Clause OR MIT))",
    ],
)
def test_a_second_declaration_keeps_a_choice_together(choice: str, tmp_path: Path):
    for license in (choice, "CC-BY-4.0", choice):
        note_data_license(tmp_path, "sft", license)
    assert data_licenses(tmp_path) == {"sft": f"({choice}) AND CC-BY-4.0"}
    assert is_allowed(data_licenses(tmp_path)["sft"], ["MIT", "Apache-2.0", "BSD-3-Clause", "CC-BY-4.0"])
    assert not is_allowed(data_licenses(tmp_path)["sft"], ["MIT", "BSD-3-Clause", "CC-BY-4.0"])


def test_the_licence_of_rows_that_a_model_wrote_goes_along(tiny_model: Path, examples: Path, tmp_path: Path):
    written = tmp_path / "examples"
    shutil.copytree(examples, written)
    note_data_license(written, "synthesize", "test-terms")
    fine_tune(tiny_model, written, tmp_path / "out", CONFIG.model_copy(update={"epochs": 1}))
    assert data_licenses(tmp_path / "out") == {"synthesize": "test-terms"}
