"""What a model stands under, from a lineage written by hand: two sources, instruction rows, a base model, a judge."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from gristmill.judge.config import FeedbackConfig, ModelJudge
from gristmill.model.config import weights_digest
from gristmill.model.effective_license import allowed_license, effective_license
from gristmill.model.open_models_config import LicensesConfig
from gristmill.model.origin import Origin, write_origin
from gristmill.report import Report
from gristmill.store import ArtifactStore, Recipe
from gristmill.text.documents import DOCUMENT_SCHEMA, write_shard

JUDGE = {"kind": "endpoint", "url": "https://api.example.org/v1", "model": "judge-9000"}


def publish(
    store: ArtifactStore, kind: str, stage: str, inputs: dict[str, str], config: Any, fill: Any, rows: int
) -> str:
    recipe = Recipe(kind=kind, stage=stage, version=1, config={stage: config}, inputs=dict(inputs))
    with store.building(recipe.address) as draft:
        fill(draft)
        report = Report(rows_in=rows, rows_out=rows)
        return store.publish(draft, recipe, report, label=stage, run="r", seconds=1.0).address


def document(license: str | None) -> dict[str, Any]:
    empty: dict[str, Any] = {field.name: None for field in DOCUMENT_SCHEMA}
    return empty | {"doc_id": "0", "url": "u", "text": "t", "license": license}


@pytest.fixture
def made(tmp_path: Path) -> tuple[ArtifactStore, str]:
    store = ArtifactStore(tmp_path)

    def splits(draft: Path) -> None:
        trained = [document("CC-BY-SA-4.0")] * 3 + [document("CC0-1.0")] + [document(None)]
        for shard in range(2):
            write_shard(draft / f"train/part-{shard}.parquet", trained[shard::2], schema=DOCUMENT_SCHEMA)
        write_shard(draft / "validation/part-0.parquet", [document("Proprietary")], schema=DOCUMENT_SCHEMA)

    def model(draft: Path) -> None:
        write_origin(Origin(name="smol", license="Apache-2.0", content={}), draft)

    def nothing(draft: Path) -> None:
        pass

    split = publish(store, "splits", "split", {}, {}, splits, 6)
    rows = publish(store, "examples", "examples", {}, {"source": {"license": "PSF-2.0"}}, nothing, 7)
    pairs = publish(store, "examples", "preferences", {"examples": rows}, {"judge": JUDGE}, nothing, 4)
    inputs = {"splits": split, "examples": rows, "pairs": pairs}
    return store, publish(store, "checkpoint", "align", inputs, {}, model, 1)


def test_base_data_and_generators_come_from_the_lineage(made: tuple[ArtifactStore, str]):
    store, address = made
    found = effective_license(store, address, LicensesConfig(generators={"judge-9000": "mit"}))
    assert found.base == {"smol": "Apache-2.0"}
    assert found.data == {"PSF-2.0": 7, "CC-BY-SA-4.0": 3, "CC0-1.0": 1, "unknown": 1}
    assert found.generators == {"judge-9000": "MIT"}
    assert found.expression == "Apache-2.0; MIT; PSF-2.0; CC-BY-SA-4.0; CC0-1.0; unknown"


def test_who_wrote_rows_counts_under_the_licence_stated_beside_it(made: tuple[ArtifactStore, str]):
    store, judged = made
    rows = publish(
        *(store, "examples", "synthesize", {}),
        {"generator": {"kind": "endpoint", "model": "writer-1"}, "license": "writer-terms"},
        *(lambda draft: None, 3),
    )
    model = publish(store, "checkpoint", "sft", {"model": judged, "examples": rows}, {}, lambda draft: None, 1)
    judge = {"judge-9000": "MIT"}
    assert effective_license(store, model, LicensesConfig(generators=judge)).generators == {
        **judge,
        "writer-1": "writer-terms",
    }
    with pytest.raises(ValueError, match="writer-1, and it is under writer-terms"):
        allowed_license(store, model, LicensesConfig(generators=judge))
    read = LicensesConfig(generators={**judge, "writer-1": "CC0-1.0"})
    assert allowed_license(store, model, read).generators["writer-1"] == "CC0-1.0"


@pytest.mark.parametrize(("states", "origin", "expected"), [("mit", None, "MIT"), ("mit", "Apache-2.0", "Apache-2.0")])
def test_a_model_folder_that_judges_states_its_licence_itself(
    made: tuple[ArtifactStore, str], tmp_path: Path, states: str, origin: str | None, expected: str
):
    store, _ = made
    folder = tmp_path / "judge"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    save_file({"weight": np.zeros(2, np.float32)}, folder / "model.safetensors")
    (folder / "README.md").write_text(f"---\nlicense: {states}\n---\n")
    if origin:
        write_origin(Origin(name="open", license=origin, content={}), folder)
    judge = FeedbackConfig(judge=ModelJudge(path=folder)).identity()
    pairs = publish(store, "examples", "preferences", {}, judge, lambda draft: None, 4)
    model = publish(store, "checkpoint", "align", {"pairs": pairs}, {}, lambda draft: None, 1)
    found = allowed_license(store, model, LicensesConfig())
    assert found.generators == {weights_digest(folder): expected}


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({}, r"judge-9000, and licenses\.generators states no licence of it"),
        ({"generators": {"judge-9000": "proprietary-terms"}}, "judge-9000, and it is under proprietary-terms"),
        ({"allow": ["MIT"], "generators": {"judge-9000": "MIT"}}, "smol, and it is under Apache-2.0"),
        (
            {"generators": {"judge-9000": "MIT"}, "allow_data": ["PSF-2.0", "CC0-1.0"]},
            r"\(3 documents\) are under 'CC-BY-SA-4.0'",
        ),
    ],
)
def test_what_is_not_allowed_is_refused_by_name(made: tuple[ArtifactStore, str], policy: dict[str, Any], said: str):
    store, address = made
    with pytest.raises(ValueError, match=said):
        allowed_license(store, address, LicensesConfig.model_validate(policy))


def test_what_is_allowed_passes(made: tuple[ArtifactStore, str]):
    store, address = made
    allow_data = ["PSF-2.0", "CC0-1.0", "CC-BY-SA-4.0", "unknown"]
    policy = LicensesConfig(generators={"judge-9000": "MIT"}, allow_data=allow_data)
    assert allowed_license(store, address, policy).base == {"smol": "Apache-2.0"}


def test_the_policy_is_no_part_of_a_registrations_key():
    from gristmill.serve.config import RegisterConfig

    strict = RegisterConfig(licenses=LicensesConfig(allow=["MIT"]))
    assert strict.identity() == RegisterConfig().identity() == {"model": "gristmill"}
