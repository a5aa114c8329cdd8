"""Training on packed rows whose documents are kept apart is training on the documents."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from training import StopBefore, finished, logged, started

from gristmill.tokens.pack import INDEX_SCHEMA

LENGTHS = (5, 3, 5)  # of a row's 13 tokens


@pytest.fixture
def packed(make_run):
    """A run whose rows hold three documents each, on rows without padding."""

    def make(**fields):
        run = make_run(**fields)
        pieces = [
            {"split": split, "row": row, "start": sum(LENGTHS[:place]), "length": length, "doc_id": f"{row}.{place}"}
            for split, rows in (("train", 22), ("validation", 5))
            for row in range(rows)
            for place, length in enumerate(LENGTHS)
        ]
        index = pa.Table.from_pylist([piece | {"continuation": False} for piece in pieces], schema=INDEX_SCHEMA)
        pq.write_table(index, run.tokens / "index.parquet")
        return run

    return make


def test_the_loss_of_a_step_is_that_of_its_documents_one_by_one(packed, tmp_path):
    trainer = started(packed(document_masking=True), tmp_path)
    with torch.no_grad():
        for weight in trainer.model.parameters():
            weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(weight.numel()))
        rows = torch.from_numpy(trainer.data.read(0))
        nats, tokens = 0.0, 0
        for row in rows:
            first = 0
            for length in LENGTHS:
                inputs, targets = row[first : min(first + length, 12)], row[first + 1 : first + length + 1]
                logits = trainer.model(input_ids=inputs[None], use_cache=False).logits[0]
                counted = targets.where(targets != trainer.pad_id, -100)
                nats += torch.nn.functional.cross_entropy(logits, counted, reduction="sum", ignore_index=-100).item()
                tokens += (counted != -100).sum().item()
                first += length
    assert trainer._step(0.0)["loss"] == pytest.approx(nats / tokens, rel=1e-6)


def test_masking_is_in_validation_too_and_resumes_bit_by_bit(packed, tmp_path):
    run = packed(document_masking=True)
    straight = finished(run, tmp_path / "straight")
    stopped = tmp_path / "stopped"
    assert not started(run, stopped).train(StopBefore(3))
    assert finished(run, stopped) == straight
    assert straight != finished(packed(), tmp_path / "crossing")
    trainer = started(packed(document_masking=True), tmp_path / "masked")
    with torch.no_grad():
        for weight in trainer.model.parameters():
            weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(weight.numel()))
    masked = trainer.validation_bits()["bits_per_byte"]
    trainer.config = trainer.config.model_copy(update={"document_masking": False})
    assert abs(trainer.validation_bits()["bits_per_byte"] - masked) > 0.01


def test_pieces_of_a_batch_give_the_loss_of_the_whole(packed, tmp_path):
    still = {"lr_matrix": 1e-9, "lr_embedding": 1e-9, "lr_norm": 1e-9}
    for rows in (4, 1):
        finished(packed(document_masking=True, micro_rows=rows, optim=still), tmp_path / str(rows))
    for name in ("loss", "grad_norm", "train_bits_per_byte"):
        assert logged(tmp_path / "1", name) == pytest.approx(logged(tmp_path / "4", name), rel=1e-5)


@pytest.mark.parametrize("family", ["qwen3_moe", "gpt2"])
def test_other_families_keep_documents_apart_too(packed, run_of, tmp_path, family):
    shape = run_of(family).model
    losses = {}
    for name, masking in (("apart", True), ("crossing", False)):
        run = packed(document_masking=masking).model_copy(update={"model": shape})
        finished(run, tmp_path / name)
        losses[name] = logged(tmp_path / name, "loss")
    assert losses["apart"][0] == pytest.approx(losses["crossing"][0], rel=0.1)
    assert losses["apart"] != losses["crossing"]
