"""Which code a stage reaches, asked by several rungs of a ladder at once."""

import ast
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import pytest

from gristmill.provenance import reachable_code


def test_one_source_is_parsed_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """CPython 3.11's parser of syntax trees fails when two threads are in it: python/cpython#106905."""
    parse, inside, met = ast.parse, Lock(), []

    def watched(source: bytes) -> ast.Module:
        alone = inside.acquire(blocking=False)
        time.sleep(0.01)
        met.append(not alone)
        if alone:
            inside.release()
        return parse(source)

    stages = [tmp_path / f"{number}.py" for number in range(4)]
    for stage in stages:
        stage.write_text("from gristmill import yaml")
    with monkeypatch.context() as patched, ThreadPoolExecutor(4) as pool:
        patched.setattr(ast, "parse", watched)
        found = list(pool.map(reachable_code, stages))
    assert len(met) >= len(stages)
    assert not any(met)
    assert all("gristmill.yaml" in modules for modules in found)
