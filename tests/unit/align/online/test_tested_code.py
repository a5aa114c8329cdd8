"""Code of a model, run where it can do no harm."""

import time
from pathlib import Path

import pytest

from gristmill.align.online import tested_code
from gristmill.align.online.tested_code import code_of, passes_tests, require_sandbox

TESTS = "assert add(2, 3) == 5\nassert add(-1, 1) == 0"
GOOD = "def add(a, b):\n    return a + b\n"


@pytest.fixture(scope="module", autouse=True)
def _sandbox():
    try:
        require_sandbox()
    except ValueError as error:
        pytest.skip(str(error))


def test_right_code_passes_and_wrong_code_does_not():
    fenced = f"Here it is:\n```python\n{GOOD}```\nIt adds."
    assert passes_tests([(fenced, TESTS), (GOOD, TESTS), (GOOD.replace("+", "-"), TESTS)], cpu_s=2).tolist() == [
        1,
        1,
        0,
    ]
    assert code_of(fenced) == GOOD


def test_leaving_early_is_no_pass():
    early = ["import os; os._exit(0)", "raise SystemExit(0)", "print('passed'); quit()"]
    assert passes_tests([(code, TESTS) for code in early], cpu_s=2).tolist() == [0, 0, 0]


def test_files_and_network_are_out_of_reach(tmp_path: Path):
    mine = tmp_path / "mine.txt"
    mine.write_text("keep me")
    bad = [
        f"import os; os.remove({str(mine)!r})\n{GOOD}",
        f"open({str(tmp_path / 'new')!r}, 'w').write('x')\n{GOOD}",
        f"open({str(mine)!r}).read()\n{GOOD}",
        f"import socket; socket.create_connection(('127.0.0.1', 1), 1)\n{GOOD}",
    ]
    assert passes_tests([(code, TESTS) for code in bad], cpu_s=2).tolist() == [0, 0, 0, 0]
    assert mine.read_text() == "keep me"
    assert list(tmp_path.iterdir()) == [mine]


def test_the_network_error_is_the_sandboxes_own():
    listens_nowhere = "import socket; socket.create_connection(('127.0.0.1', 1), 1)"
    ended = tested_code._run(listens_nowhere, "", "s", cpu_s=2)
    assert b"Network is unreachable" in ended.stderr


def test_time_and_memory_are_bounded():
    started = time.monotonic()
    hungry = [f"while True: pass\n{GOOD}", f"x = bytearray(1 << 31)\n{GOOD}", f"import time; time.sleep(99)\n{GOOD}"]
    assert passes_tests([(code, TESTS) for code in hungry], cpu_s=0.2).tolist() == [0, 0, 0]
    assert time.monotonic() - started < 60
