"""Energy that the machine says it used: processors by RAPL (Linux powercap), NVIDIA devices by NVML; where readable.

RAPL counts the whole package, whoever computes on it, and is often readable by root alone.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

POWERCAP = Path("/sys/class/powercap")


class EnergyMeter:
    """Joules since it was made; `None` when nothing here can be read.

    cuda_device: the one that torch calls so, or all that NVML knows.
    """

    def __init__(self, *, powercap: Path = POWERCAP, cuda_device: int | Literal["all"] | None = None) -> None:
        self._packages = [_Package(zone) for zone in sorted(powercap.glob("intel-rapl:*")) if _is_package(zone)]
        self._packages = [package for package in self._packages if package.last is not None]
        self._devices = nvml_devices(cuda_device) if cuda_device is not None else []
        self._at_start = self._device_joules()

    def joules(self) -> float | None:
        """Of all packages and CUDA devices together."""
        parts = [package.joules() for package in self._packages]
        now = self._device_joules()
        if now is not None and self._at_start is not None:
            parts.append(now - self._at_start)
        return sum(parts) if parts else None

    def _device_joules(self) -> float | None:
        if not self._devices:
            return None
        nvml = self._devices[0][0]
        with suppress(nvml.NVMLError):
            return sum(nvml.nvmlDeviceGetTotalEnergyConsumption(handle) for _, handle in self._devices) / 1e3  # mJ
        return None


class _Package:
    """A processor's counter, which begins again at its end."""

    def __init__(self, zone: Path) -> None:
        self.zone = zone
        self.total = 0.0
        self.last = self._microjoules("energy_uj")
        self.range = self._microjoules("max_energy_range_uj")

    def joules(self) -> float:
        now = self._microjoules("energy_uj")
        if now is not None and self.last is not None:
            self.total += now - self.last if now >= self.last else now - self.last + (self.range or 0)
            self.last = now
        return self.total / 1e6

    def _microjoules(self, name: str) -> int | None:
        with suppress(OSError, ValueError):
            return int((self.zone / name).read_text())
        return None


def _is_package(zone: Path) -> bool:
    """Of the zones `intel-rapl:0` and `intel-rapl:0:1` the first contains the second. Their names are the same for
    processors of AMD."""
    return zone.name.count(":") == 1


def nvml_devices(which: int | Literal["all"]) -> list[tuple[Any, Any]]:
    """NVML and its handle of the device that torch calls so, or of each. None without `nvidia-ml-py` or a driver."""
    try:
        import pynvml  # pyright: ignore[reportMissingImports]
    except ImportError:
        return []
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        if which == "all":
            return [(pynvml, pynvml.nvmlDeviceGetHandleByIndex(at)) for at in range(pynvml.nvmlDeviceGetCount())]
        import torch

        # by identity: CUDA_VISIBLE_DEVICES renumbers torch's devices, not NVML's
        uuid = torch.cuda.get_device_properties(which).uuid
        return [(pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}"))]
    return []
