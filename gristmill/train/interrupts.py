"""How the program is stopped: politely by a signal, which leaves a checkpoint; never left behind by its parent."""

import ctypes
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PR_SET_PDEATHSIG = 1


class StopRequest:
    """The signal that asked this process to stop, if one did."""

    signal_number: int | None = None

    @property
    def exit_status(self) -> int:
        """What a shell reports for a process that this signal ended: 143 after SIGTERM, 130 after SIGINT."""
        return 128 + (self.signal_number or signal.SIGTERM)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Note SIGTERM and SIGINT instead of dying of them. A second one of either ends the process at once."""
    request = StopRequest()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def note(number: int, _frame: FrameType | None) -> None:
        request.signal_number = number
        for known in before:
            signal.signal(known, signal.SIG_DFL)

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def follow_parent() -> None:
    """Have the kernel send this process SIGTERM when its parent dies (Linux; elsewhere nothing happens)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
