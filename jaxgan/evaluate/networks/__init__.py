"""Networks whose features measures are taken in, in Flax, with the weights that their authors publish."""

from jaxgan.support.errors import UserError
from jaxgan.support.torch_file import Arrays


def check(name: str, state: Arrays, wanted: dict[str, tuple[int, ...]], network: str) -> None:
    """Refuses tensors that are not those of a network.

    Raises:
        UserError: names the first tensor that is missing, or has another shape.
    """
    for tensor, shape in wanted.items():
        found = "nothing" if tensor not in state else list(state[tensor].shape)
        if found != list(shape):
            raise UserError(f"{name}: not {network}: {tensor}: expected {list(shape)}, found {found}")
