"""What fine-tuning learns, token by token, and that packed rows teach what rows alone would."""

from pathlib import Path

import pytest
import torch
from datasets import Dataset
from tiny_chat_model import write_tiny_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedTokenizerBase
from trl import SFTConfig

from gristmill.align.config import SftConfig
from gristmill.align.sft import _dataset, run_sft
from gristmill.align.sft_trainer import AnswerTrainer, packed
from gristmill.evaluate.chat_format import encode_chats, printed
from gristmill.schema import Resources
from gristmill.tokens.tokenizer import _CHAT_TEMPLATE

CHAT = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": "So.\nThere"},
]
WITH_SYSTEM = [{"role": "system", "content": "Be brief."}, *CHAT]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    """A tokenizer with the template that `train_tokenizer` writes."""
    folder = tmp_path_factory.mktemp("ours")
    write_tiny_tokenizer(folder)
    (folder / "chat_template.jinja").write_text(_CHAT_TEMPLATE)
    return AutoTokenizer.from_pretrained(folder)


def test_of_our_template_the_answers_and_the_ends_of_their_turns_are_learned(ours: PreTrainedTokenizerBase):
    assert printed(ours, *encode_chats(ours, [WITH_SYSTEM])) == (
        "<|endoftext|>"
        "|<|im_start|>|s|y|st|e|m|⏎|B|e| |b|r|i|e|f|.|<|im_end|>|⏎"
        "|<|im_start|>|user|⏎|H|i|<|im_end|>|⏎"
        "|<|im_start|>|a|ss|ist|ant|⏎⟦Y|es|.|<|im_end|>⟧|⏎"
        "|<|im_start|>|user|⏎|Wh|y|?|<|im_end|>|⏎"
        "|<|im_start|>|a|ss|ist|ant|⏎⟦S|o|.|⏎|T|h|er|e|<|im_end|>⟧|⏎"
    )


def rows(tokenizer: PreTrainedTokenizerBase) -> list[dict]:
    chats = [CHAT, CHAT[:2], WITH_SYSTEM, CHAT[2:]]
    return _dataset(encode_chats(tokenizer, chats)).to_list()


def losses_and_gradients(folder: Path, batch: dict, out: Path, rows: list[dict]) -> tuple[float, torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(folder)
    arguments = SFTConfig(output_dir=str(out), bf16=False, use_cpu=True, report_to="none")
    trainer = AnswerTrainer(
        model, arguments, train_dataset=Dataset.from_list(rows), processing_class=AutoTokenizer.from_pretrained(folder)
    )
    loss = trainer.compute_loss(model, batch)
    loss.backward()
    return loss.item(), model.model.embed_tokens.weight.grad


def test_packed_rows_give_the_loss_and_the_gradient_of_rows_alone(
    tiny_model: Path, ours: PreTrainedTokenizerBase, tmp_path: Path
):
    examples = rows(ours)
    tokens = sum(label != -100 for row in examples for label in row["labels"])
    alone = [
        losses_and_gradients(
            tiny_model,
            {
                "input_ids": torch.tensor([row["input_ids"]]),
                "labels": torch.tensor([row["labels"]]),
                "attention_mask": torch.ones(1, len(row["input_ids"]), dtype=torch.long),
            },
            tmp_path,
            examples,
        )
        for row in examples
    ]
    shares = [sum(label != -100 for label in row["labels"]) / tokens for row in examples]
    loss, gradient = losses_and_gradients(tiny_model, packed(examples, LlamaConfig()), tmp_path, examples)
    assert loss == pytest.approx(sum(share * one for share, (one, _) in zip(shares, alone, strict=True)), abs=1e-5)
    expected = torch.stack([share * one for share, (_, one) in zip(shares, alone, strict=True)]).sum(dim=0)
    assert torch.allclose(gradient, expected, atol=1e-5)


def test_a_packed_row_has_no_padding_and_a_rows_first_token_is_never_a_target():
    batch = packed(
        [{"input_ids": [5, 6], "labels": [5, 6]}, {"input_ids": [7, 8, 9], "labels": [-100, 8, 9]}], LlamaConfig()
    )
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9]]
    assert batch["labels"].tolist() == [[-100, 6, -100, 8, 9]]
    assert batch["position_ids"].tolist() == [[0, 1, 0, 1, 2]]
    assert batch["attention_mask"][0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 1, 1, 1],
    ]


def test_a_packed_run_ends_where_a_padded_one_does(tiny_model: Path, examples: Path, tmp_path: Path):
    """Same rows in the same order: the losses differ by rounding alone."""
    found = []
    for packing in (False, True):
        out = tmp_path / str(packing)
        out.mkdir()
        config = SftConfig(epochs=2, batch_rows=4, micro_rows=4, lr=1e-3, packing=packing)
        report = run_sft(tiny_model, examples, out, config, Resources(threads=1, device="cpu"))
        found.append(report.metrics["held_out_nats_per_token"])
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_a_run_shows_what_it_learns_of_its_first_rows(tiny_model: Path, examples: Path, tmp_path: Path):
    run_sft(tiny_model, examples, tmp_path, SftConfig(), Resources(threads=1, device="cpu"))
    shown = (tmp_path / "learned.txt").read_text().splitlines()
    assert len(shown) == 3
    assert shown[0].replace("|", "").endswith("⟦Return the sort of a list, in order.<im_end>⟧⏎")


def test_packing_works_in_bf16(tiny_model: Path, examples: Path, tmp_path: Path):
    config = SftConfig(epochs=6, batch_rows=4, micro_rows=4, lr=3e-3, packing=True, precision="bf16")
    report = run_sft(tiny_model, examples, tmp_path, config, Resources(threads=1, device="cpu"))
    assert report.metrics["held_out_nats_per_token_change_ci_high"] < 0
