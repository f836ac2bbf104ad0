"""Features of pictures: what measures are taken in.

The features that a measure is taken in decide more about it than the measure does. VGG16's ship with the package;
others are read from files that their authors publish.
"""

import dataclasses
import hashlib
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from jaxgan.evaluate.resizing import Resize, resize
from jaxgan.style import vgg, weights
from jaxgan.support import download, torch_file
from jaxgan.support.errors import UserError, first_line

NAMES = ("vgg16", "lite0", "inception", "dinov2")
"""Networks that are known; after a colon, the name of another output than the first."""
WHERE = {
    "lite0": "the trunk as .safetensors",
    "inception": "pt_inception-2015-12-05-6726825d.pth, which pytorch-fid publishes",
    "dinov2": "dinov2_vits14_pretrain.pth, or that of vitb14 or vitl14, which facebookresearch/dinov2 publishes",
}
IMAGENET = ("vgg16", "lite0", "inception")
"""Networks that learned ImageNet's classes."""

_LEAST = 32  # Pixels a side: VGG16's four poolings leave 2 of them.


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """Features of pictures. One's own are a name and a function.

    Attributes:
        name: such as "vgg16:relu5_3".
        apply: a function of `params` and of pictures float32 [N, H, W, 3] in [-1, 1], to float32 [N, F].
        params: a pytree.
        side: pixels a side that pictures are brought to first; None takes them as they are.
        sha256: of the weights; features without one are not kept for the next time.
        classifier: float32 [F, classes], by which features are multiplied for a classifier's logits; None where there
            is no Inception score.
        note: what a reader of a figure has to know of them.
    """

    name: str
    apply: Callable[[Any, jax.Array], jax.Array]
    params: Any = ()
    side: int | None = None
    sha256: str = ""
    classifier: np.ndarray | None = None
    note: str = ""

    @property
    def network(self) -> str:
        """The name without the output."""
        return self.name.split(":")[0]

    def of(self, params: Any, pictures: jax.Array, how: Resize) -> jax.Array:
        """Features [N, F] of pictures [N, H, W, 3] in [-1, 1], brought to the size that the network takes."""
        return self.apply(params, pictures if self.side is None else resize(pictures, self.side, how))


def of_module(module: Any) -> Callable[[Any, jax.Array], jax.Array]:
    """A Flax module as a function of its parameters and of pictures."""
    return lambda params, x: module.apply({"params": params}, x)


def biased(network: str, trained_with: Sequence[str]) -> bool:
    """Whether a generator was trained to do well in a network's features.

    That is so where training used the same network (a projected discriminator, an alignment), and where both networks
    learned ImageNet's classes: then a distance falls although pictures become no better.

    Args:
        network: whose features a measure is taken in.
        trained_with: networks whose features training used.

    References:
        Kynkaanniemi et al., The Role of ImageNet Classes in Frechet Inception Distance, arXiv 2203.06026.
    """
    return network in trained_with or (network in IMAGENET and any(name in IMAGENET for name in trained_with))


def load(name: str, source: str | Path | None = None, console: Console | None = None) -> Features:
    """Features by their name.

    Args:
        name: one of `NAMES`, perhaps with the name of an output: "vgg16:relu2_2" (any layer, averaged over positions;
            relu3_3 if not said), "lite0:block4" (block15), "inception", "dinov2:patches" (the mean of the patches'
            tokens; otherwise the class token).
        source: a file of weights or its URL; VGG16 needs none.
        console: where the progress of a download is shown.

    Raises:
        UserError: there are no such features, or the weights are missing, damaged, or not that network's.
    """
    network, _, output = name.partition(":")
    if network not in NAMES:
        raise UserError(f"--features {name}: unknown; one of {', '.join(NAMES)}")
    if network == "vgg16":
        return vgg16(output or "relu3_3", source, console)
    if source is None:
        raise UserError(f"--features {network}: needs --weights FILE or URL: {WHERE[network]}")
    file, data = download.read(source, console)
    arrays = read_arrays(file, data)
    sha256 = hashlib.sha256(data).hexdigest()
    return {"lite0": _lite0, "inception": _inception, "dinov2": _dinov2}[network](file, arrays, sha256, output)


def read_arrays(name: str, data: bytes) -> torch_file.Arrays:
    """The arrays in the bytes of a .pth or .safetensors file, by their names; nothing in it is executed.

    Raises:
        UserError: it is damaged, or something else.
    """
    from safetensors.numpy import load

    try:
        if torch_file.is_torch(data):
            return torch_file.read(data)
        if data[8:9] == b"{":
            return dict(load(data))
    except pickle.UnpicklingError as error:
        raise UserError(f"{name}: {error}") from None
    except Exception as error:  # The formats' readers raise nearly everything on damaged files.
        raise UserError(f"{name}: cannot be read as weights ({first_line(error)}); is it whole?") from None
    raise UserError(f"{name}: not a file of weights; readable are .pth and .safetensors")


def vgg16(layer: str = "relu5_3", source: str | Path | None = None, console: Console | None = None) -> Features:
    """VGG16's features at a layer, averaged over positions.

    Pictures are taken at their own size, those of fewer than 32 pixels a side enlarged to that.

    Args:
        layer: such as "relu2_2".
        source: another file of weights than the package's (see `weights.load`).
        console: where the progress of a download is shown.
    """
    network = weights.load(source, console)
    vgg.check_layers(network.module, [layer])
    sha256 = weights.OWN_SHA256 if source is None else hashlib.sha256(download.read(source)[1]).hexdigest()
    return Features(f"vgg16:{layer}", _Pooled(layer), network, sha256=sha256)


@dataclasses.dataclass(frozen=True)
class _Pooled:
    """A layer of VGG16, averaged over positions."""

    layer: str

    def __call__(self, network: vgg.Network, x: jax.Array) -> jax.Array:
        x = (x + 1) / 2
        if min(x.shape[1:3]) < _LEAST:
            x = jax.image.resize(x, (len(x), *(max(side, _LEAST) for side in x.shape[1:3]), 3), "linear")
        return jnp.mean(network.features(x, [self.layer])[self.layer], axis=(1, 2))


def _lite0(file: str, arrays: torch_file.Arrays, sha256: str, output: str) -> Features:
    from jaxgan.evaluate.networks import lite0

    output = output or "block15"
    if output not in lite0.OUTPUTS:
        raise UserError(f"--features lite0:{output}: no such output; one of {', '.join(lite0.OUTPUTS)}")

    def apply(params: Any, x: jax.Array) -> jax.Array:
        found: Any = lite0.Lite0().apply({"params": params}, x)
        return jnp.mean(found[output], axis=(1, 2))

    return Features(f"lite0:{output}", apply, lite0.from_arrays(file, arrays), lite0.SIDE, sha256)


def _inception(file: str, arrays: torch_file.Arrays, sha256: str, output: str) -> Features:
    from jaxgan.evaluate.networks import inception

    _no_output("inception", output)
    params, classifier = inception.from_torch(file, arrays)
    note = "" if sha256 == inception.SHA256 else "these are not FID's weights: its file has sha256 6726825d..."
    return Features("inception", of_module(inception.Inception()), params, inception.SIDE, sha256, classifier, note)


def _dinov2(file: str, arrays: torch_file.Arrays, sha256: str, output: str) -> Features:
    from jaxgan.evaluate.networks import dinov2

    if output not in ("", "patches"):
        raise UserError(f"--features dinov2:{output}: no such output; dinov2, or dinov2:patches")
    network, params = dinov2.from_torch(file, arrays)
    tokens = of_module(network)

    def apply(params: Any, x: jax.Array) -> jax.Array:
        found = tokens(params, x)
        return jnp.mean(found[:, 1:], axis=1) if output else found[:, 0]

    kind = dinov2.NAMES.get(network.width, f"{network.width} wide")
    name = f"dinov2:{output}" if output else "dinov2"
    return Features(name, apply, params, dinov2.SIDE, sha256, note=f"the network is a {kind}")


def _no_output(network: str, output: str) -> None:
    if output:
        raise UserError(f"--features {network}:{output}: {network} has one output; say --features {network}")
