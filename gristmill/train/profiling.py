"""`--profile`: where the time of a few steps goes, as a trace that Perfetto (ui.perfetto.dev) and Chrome show.

The program alone has the switch: what a stage makes never holds a trace, whose times differ from run to run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

WARM_UP_STEPS, PROFILED_STEPS = 3, 3
TRACE = Path("profile") / "trace.json"


@contextmanager
def profiled(out: Path, *, device: torch.device) -> Iterator[profile]:
    """Trace steps 4 to 6 of this process into `out/profile/trace.json`; call `step()` after each step."""
    trace = out / TRACE
    trace.parent.mkdir(parents=True, exist_ok=True)
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    plan = schedule(wait=WARM_UP_STEPS - 1, warmup=1, active=PROFILED_STEPS, repeat=1)
    with profile(
        activities=activities,
        schedule=plan,
        record_shapes=True,
        on_trace_ready=lambda done: done.export_chrome_trace(str(trace)),
    ) as profiler:
        yield profiler
