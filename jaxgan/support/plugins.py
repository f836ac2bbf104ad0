"""Plugins of JAX for accelerators, where they are installed for their compilers' sake alone (`jaxgan[targets]`).

Without the hardware, each writes a page of complaints when JAX looks for devices, NVIDIA's even when JAX is imported.
So they are left out then, as if they were not installed, until a compiler is wanted.
"""

import os
import sys
import types
from pathlib import Path
from typing import Any

TPU = ("libtpu",)
CUDA = ("jax_plugins.xla_cuda12", "jax_plugins.xla_cuda13", "jax_cuda12_plugin", "jax_cuda13_plugin")
"""The modules of each; the compilers are in the first two."""
_GOOGLE = "0x1ae0"  # Vendor of a TPU on the PCI bus.


def leave_out_absent() -> None:
    """Leaves out the plugins whose hardware is not here, unless JAX_PLATFORMS names it. Call before JAX is imported."""
    named = os.environ.get("JAX_PLATFORMS", "").split(",")
    absent: tuple[str, ...] = ()
    if not {"cuda", "gpu"} & {*named} and not _has_nvidia():
        absent += CUDA
    if "tpu" not in named and not _has_tpu():
        absent += TPU
    for name in absent:
        # JAX calls each module of `jax_plugins` that it finds, and does without the others where they are missing.
        missing: Any = _Nothing(name) if name.startswith("jax_plugins.") else None
        sys.modules.setdefault(name, missing)


def let_in(modules: tuple[str, ...]) -> None:
    """Undoes `leave_out_absent` for some modules; JAX finds them if it has not looked for devices yet."""
    for name in modules:
        if isinstance(sys.modules.get(name), _Nothing | None):
            sys.modules.pop(name, None)


class _Nothing(types.ModuleType):
    """Stands in for a plugin, and registers nothing."""

    def initialize(self) -> None:
        pass


def _has_nvidia() -> bool:
    """Whether there is an NVIDIA GPU, by the same files that JAX looks at."""
    return any(Path("/dev", name).exists() for name in ("nvidia0", "nvidiactl", "dxg"))


def _has_tpu() -> bool:
    """Whether there is a TPU, or any other device of Google's."""
    return any(path.read_text().strip() == _GOOGLE for path in Path("/sys/bus/pci/devices").glob("*/vendor"))
