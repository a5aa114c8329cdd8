"""Energy that the machine says it used: processors by RAPL (Linux powercap), NVIDIA devices by NVML; where readable.

RAPL counts the whole package, whoever computes on it, and is often readable by root alone.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")


class EnergyMeter:
    """Joules since it was made; `None` when nothing here can be read."""

    def __init__(self, *, powercap: Path = POWERCAP, cuda_device: int | None = None) -> None:
        self._packages = [_Package(zone) for zone in sorted(powercap.glob("intel-rapl:*")) if _is_package(zone)]
        self._packages = [package for package in self._packages if package.last is not None]
        self._nvml = _nvml_handle(cuda_device) if cuda_device is not None else None
        self._at_start = self._device_joules()

    def joules(self) -> float | None:
        """Of all packages and of the CUDA device together."""
        parts = [package.joules() for package in self._packages]
        now = self._device_joules()
        if now is not None and self._at_start is not None:
            parts.append(now - self._at_start)
        return sum(parts) if parts else None

    def _device_joules(self) -> float | None:
        if self._nvml is None:
            return None
        nvml, handle = self._nvml
        with suppress(nvml.NVMLError):
            return nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3  # it counts millijoules
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


def _nvml_handle(device: int) -> tuple[Any, Any] | None:
    """NVML and its handle of the device that torch calls so. None without the package `nvidia-ml-py` or a driver."""
    try:
        import pynvml  # pyright: ignore[reportMissingImports]
        import torch
    except ImportError:
        return None
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        # by identity: CUDA_VISIBLE_DEVICES renumbers torch's devices, not NVML's
        return pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    return None
