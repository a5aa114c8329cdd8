"""A tiny chat model and its examples, made once."""

from pathlib import Path

import pytest
from tiny_chat_model import OFTEN, write_examples, write_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples answers that come to an end."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model", ends=OFTEN)


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_examples(tmp_path_factory.mktemp("tiny") / "examples")
