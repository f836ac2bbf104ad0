"""Where the PyTorch sides of the benchmarks compute: the same kind of device as ours, at the same precision."""

import torch


def use(name: str) -> None:
    """Has networks and random numbers be made on a device from now on; float32 products are in TF32 there, as JAX's."""
    torch.set_default_device(name)
    torch.set_float32_matmul_precision("high" if name.startswith("cuda") else "highest")


def wait() -> None:
    """Until all is computed."""
    if torch.get_default_device().type == "cuda":
        torch.cuda.synchronize()
