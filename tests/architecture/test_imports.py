"""The architecture holds: imports point one way, configurations stay light, no file is a drawer."""

import subprocess
import sys
from pathlib import Path

import pytest
from import_rules import faults, module_name

ROOT = Path(__file__).parents[2]


def test_the_checkout_breaks_no_import_rule():
    assert faults(ROOT) == []


@pytest.mark.parametrize(
    ("file", "source", "reason"),
    [
        ("gristmill/dedup/minhash.py", "import prefect", "the domain runs without"),
        (
            "gristmill/dedup/minhash.py",
            "def f():\n    from mlflow.client import MlflowClient",
            "the domain runs without",
        ),
        ("gristmill/dedup/minhash.py", "from tasks.stage import stage", "the domain runs without"),
        ("gristmill/dedup/minhash.py", "from flows import data", "the domain runs without"),
        ("gristmill/dedup/minhash.py", "from . import config", "written in full"),
        ("tasks/dedup.py", "import mlflow", "only tasks/tracking.py"),
        ("flows/data.py", "from mlflow import log_metric", "only tasks/tracking.py"),
        ("tasks/dedup.py", "from flows.data import data", "tasks do not know flows"),
        ("tasks/dedup.py", "from tasks.extract import extract", "tasks do not know each other"),
        ("tasks/dedup.py", "from tasks import extract", "tasks do not know each other"),
        ("flows/data.py", "from gristmill.dedup.minhash import run_dedup", "belongs to a task"),
        ("flows/data.py", "from flows.cli import main", "the command line"),
        ("gristmill/dedup/config.py", "import torch", "loads torch"),
        ("gristmill/dedup/config.py", "from gristmill.dedup.heavy import Heavy", "loads transformers"),
        ("gristmill/dedup/utils.py", "", "is a drawer"),
        ("tasks/common/__init__.py", "", "is a drawer"),
    ],
)
def test_a_planted_violation_is_found_and_explained(tmp_path: Path, file: str, source: str, reason: str):
    _plant(tmp_path, "gristmill/dedup/heavy.py", "from transformers import AutoModel")
    _plant(tmp_path, file, source)
    found = faults(tmp_path)
    assert any(line.startswith(file) and reason in line for line in found), found


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("gristmill/dedup/config.py", "def load():\n    import torch"),
        ("gristmill/dedup/config.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("gristmill/dedup/minhash.py", "import torch"),
        ("tasks/dedup.py", "import prefect\nfrom tasks.stage import stage\nfrom gristmill.dedup import minhash"),
        ("tasks/promote.py", "from tasks import registry"),
        ("tasks/tracking.py", "import mlflow"),
        ("tasks/registry.py", "from mlflow import MlflowClient"),
        (
            "flows/data.py",
            "import prefect\nfrom tasks.dedup import dedup\nfrom gristmill.dedup.config import DedupConfig",
        ),
        ("flows/cli/run.py", "from gristmill.store import ArtifactStore"),
    ],
)
def test_an_allowed_import_is_no_fault(tmp_path: Path, file: str, source: str):
    _plant(tmp_path, file, source)
    assert faults(tmp_path) == []


def test_importing_every_config_loads_neither_torch_nor_transformers_nor_mlflow():
    configs = [module_name(path, ROOT) for path in sorted((ROOT / "gristmill").rglob("config.py"))]
    program = (
        f"import importlib, sys; [importlib.import_module(name) for name in {configs!r}]; "
        "print(sorted({'torch', 'transformers', 'mlflow', 'prefect'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr


def _plant(root: Path, file: str, source: str) -> None:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)


def test_no_two_test_modules_have_one_name():
    # pytest imports them by name alone, so the second would not be collected when all tests run together
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
