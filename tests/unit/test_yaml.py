"""Configuration files: joined, overridden, and refused with the place of the mistake."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from gristmill.schema import Schema
from gristmill.yaml import ConfigError, load_yaml


class Files(Schema):
    kind: Literal["files"] = "files"
    paths: list[str]


class Docs(Schema):
    kind: Literal["docs"] = "docs"
    seed: int = 0


class Optim(Schema):
    lr: float = Field(default=1e-3, gt=0)
    beta: float = 0.9


class Whole(Schema):
    sources: list[Annotated[Files | Docs, Field(discriminator="kind")]] = []
    optim: Optim = Optim()
    name: str = "x"


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_child_overrides_its_parent_key_by_key_and_lists_as_a_whole(tmp_path: Path):
    write(
        tmp_path,
        "base.yaml",
        "name: base\noptim:\n  lr: 0.1\n  beta: 0.5\nsources:\n  - {kind: docs}\n  - {kind: docs}\n",
    )
    child = write(
        tmp_path, "child.yaml", "extends: base.yaml\noptim:\n  lr: 3e-4\nsources:\n  - {kind: files, paths: [a]}\n"
    )
    whole = load_yaml(child, [], Whole)
    assert (whole.name, whole.optim.lr, whole.optim.beta) == ("base", 3e-4, 0.5)
    assert whole.sources == [Files(paths=["a"])]


def test_set_wins_and_its_value_is_yaml(tmp_path: Path):
    path = write(tmp_path, "a.yaml", "optim: {lr: 0.1}\n")
    whole = load_yaml(path, ["optim.lr=3e-4", "sources=[{kind: files, paths: ['x*.gz']}]"], Whole)
    assert whole.optim.lr == 3e-4
    assert whole.sources == [Files(paths=["x*.gz"])]


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        ("name: x\noptim:\n  lrr: 1\n", [], [":3:", "unknown key optim.lrr", "did you mean lr?", "accepts beta, lr"]),
        ("optim:\n  lr: fast\n", [], [":2:", "optim.lr", "valid number", "'fast'"]),
        ("optim:\n  lr: -1\n", [], [":2:", "optim.lr", "greater than 0"]),
        ("nmae: x\n", [], [":1:", "unknown key nmae", "did you mean name?"]),
        (
            "sources:\n  - kind: files\n    pats: [a]\n    paths: [a]\n",
            [],
            [":3:", "sources.0.pats", "did you mean paths?"],
        ),
        ("sources:\n  - kind: fils\n", [], [":2:", "sources.0", "'files', 'docs'"]),
        ("sources:\n  - kind: files\n", [], [":2:", "sources.0.paths is missing"]),
        ("name: x\n", ["optim.lrr=1"], ["--set optim.lrr", "did you mean lr?"]),
        ("name: [\n", [], [":2:", "not YAML"]),
        ("- a\n", [], ["expected `key: value`"]),
        ("extends: nowhere.yaml\n", [], ["nowhere.yaml", "no such configuration"]),
        ("name: x\n", ["optim"], ["expected a.b=value"]),
        ("name: x\n", ["name.inner=1"], ["not a group of settings"]),
    ],
)
def test_a_mistake_is_named_where_it_was_made(tmp_path: Path, text: str, overrides: list[str], expected: list[str]):
    path = write(tmp_path, "a.yaml", text)
    with pytest.raises(ConfigError) as caught:
        load_yaml(path, overrides, Whole)
    for part in expected:
        assert part in str(caught.value)


def test_a_mistake_in_a_parent_names_the_parent(tmp_path: Path):
    write(tmp_path, "base.yaml", "\n\nnmae: base\n")
    child = write(tmp_path, "child.yaml", "extends: base.yaml\n")
    with pytest.raises(ConfigError, match=r"base\.yaml:3: unknown key nmae"):
        load_yaml(child, [], Whole)


def test_a_file_that_extends_itself_is_refused(tmp_path: Path):
    path = write(tmp_path, "a.yaml", "extends: a.yaml\n")
    with pytest.raises(ConfigError, match="cannot extend itself"):
        load_yaml(path, [], Whole)


@pytest.mark.parametrize("place", ["file", "override"])
@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!python/name:os.system", "!eval"])
def test_a_configuration_runs_no_code(tmp_path: Path, place: str, tag: str):
    ran = tmp_path / "ran"
    value = f"{tag} ['touch {ran}']"
    path = write(tmp_path, "a.yaml", f"name: {value}\n" if place == "file" else "name: x\n")
    with pytest.raises(ConfigError):
        load_yaml(path, [f"name={value}"] if place == "override" else [], Whole)
    assert not ran.exists()
