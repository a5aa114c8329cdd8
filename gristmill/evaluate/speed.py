"""How fast a model answers one user, and in how much memory: in float32, bfloat16, and as llama.cpp runs it.

Each format is measured in a process of its own (gristmill.evaluate.speed_probe), so that its memory is its own. Times
are of the clock on the wall, of this machine in the state it was in: they compare formats of one model measured
together, and models measured on one idle machine. Left out: many users at a time.
"""

import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from gristmill.evaluate.speed_config import SpeedConfig, SpeedFormat
from gristmill.export.formats import export_model
from gristmill.progress import progress
from gristmill.schema import Resources


def measure_speed(model: Path, config: SpeedConfig, resources: Resources) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics `speed_FORMAT_first_token_ms`, `…_tokens_per_s` and `…_peak_megabytes`, and where they were measured.

    model: a Hugging Face folder. Raises ValueError where llama.cpp is asked for and not installed, RuntimeError when a
    measurement fails.
    """
    metrics: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory(prefix="gristmill-speed-") as scratch,
        progress("evaluate: speed", total=len(config.formats), unit="formats") as bar,
    ):
        for kind in config.formats:
            found = _probe(_written(model, Path(scratch), kind, resources), kind, config, resources)
            metrics |= {f"speed_{kind}_{name}": value for name, value in found.items()}
            bar.advance()
    facts = {
        "machine": platform.processor() or platform.machine(),
        "threads": resources.threads,
        "device": resources.device,  # of transformers; llama.cpp's formats run on the CPU
        **config.model_dump(),
    }
    return metrics, {"speed": facts}


def _written(model: Path, scratch: Path, kind: SpeedFormat, resources: Resources) -> Path:
    """Where that format of the model lies."""
    if kind in ("fp32", "bf16"):
        return model
    return export_model(
        model, scratch, to="int8" if kind == "int8" else "gguf", name="speed", source="", threads=resources.threads
    ).path


def _probe(path: Path, kind: SpeedFormat, config: SpeedConfig, resources: Resources) -> dict[str, float]:
    asked = {
        "path": str(path.absolute()),
        "kind": kind,
        "device": resources.device,
        "threads": resources.threads,
        "prompt_tokens": config.prompt_tokens,
        "new_tokens": config.new_tokens,
        "repeats": config.repeats,
    }
    done = subprocess.run(
        [sys.executable, "-m", "gristmill.evaluate.speed_probe", json.dumps(asked)], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise RuntimeError(f"the speed of {kind} could not be measured: {done.stderr.strip()[-400:]}")
    return json.loads(done.stdout.splitlines()[-1])
