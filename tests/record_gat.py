"""Records what GAT's authors' networks compute: `python tests/record_gat.py FOLDER` writes tests/data/gat.npz, gat.pt.

FOLDER is a checkout of their code (github.com/hse1032/GAT); PyTorch, einops and this package are needed. Weights are
random, those that begin as zero or one too. The tiny networks that are recorded compute in float64; S/2 and B/4 are
compared in float32 here, and how far they are from ours is printed. gat.pt is a checkpoint as their train.py writes.
"""

import argparse
import os
import sys
import types
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxgan.models import gat
from jaxgan.step import augment
from jaxgan.step.keys import each, normal, stream

DATA = Path(__file__).parent / "data" / "gat.npz"
TINY = {"size": 8, "channels": 3, "width": 16, "depth": 8, "heads": 2, "patch": 2, "embedding": 12, "classes": 3}
SIZES = {
    "S/2": {**TINY, "size": 32, "channels": 4, "width": 384, "depth": 12, "heads": 6, "embedding": 2048},
    "B/4": {**TINY, "size": 32, "channels": 4, "width": 768, "depth": 12, "heads": 12, "patch": 4, "embedding": 2048},
}
SAVED = {**TINY, "depth": 4}
LATENT = 6
LABELS = np.array([2, 0, 2])
LEVELS = (0.885, 0.76, 0.51, 0.01)
POLICIES = (augment.colours, augment.translation, augment.cutout, augment.mirror)
GAMMA = 0.1
SIGMA = 0.01


def random(name: str, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Normal numbers by NumPy's legacy generator, which gives the same in every version."""
    return (scale * np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)).astype(np.float32)


def networks(sizes: dict[str, int], dtype: Any) -> tuple[gat.Generator, gat.Discriminator]:
    """Ours."""
    both: dict[str, Any] = {name: sizes[name] for name in ("width", "depth", "heads", "patch", "classes")} | {
        "dtype": dtype
    }
    return (
        gat.Generator(sizes["size"], sizes["channels"], **both),
        gat.Discriminator(embedding=sizes["embedding"], **both),
    )


def weights(name: str, module: Any, *inputs: Any) -> dict[str, Any]:
    """A network's parameters, as Flax has them."""
    shapes: Any = flatten_dict(jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"], sep="/")
    found: dict[str, np.ndarray] = {}
    for path, leaf in shapes.items():
        slow = 100.0 if "dense" in path or "label0" in path or "label1" in path else 1.0
        if path.endswith("kernel"):
            value = random(f"{name}/{path}", *leaf.shape, scale=slow * leaf.shape[-2] ** -0.5)
        elif path.endswith("scale"):
            value = 1 + random(f"{name}/{path}", *leaf.shape, scale=0.3)
        else:
            value = random(f"{name}/{path}", *leaf.shape, scale=0.3 * slow)
        found[path] = value
    return unflatten_dict(found, sep="/")


def pictures(sizes: dict[str, int], count: int) -> list[np.ndarray]:
    """Four pictures a sample."""
    shape = (count, sizes["size"], sizes["size"], sizes["channels"])
    return [random(f"picture{level}", *shape) for level in range(gat.PICTURES)]


def inputs(sizes: dict[str, int]) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Latents, pictures and labels."""
    return random("latent", len(LABELS), LATENT), pictures(sizes, len(LABELS)), LABELS.astype(np.int32)


def theirs(params: Any, sizes: dict[str, int], network: str) -> dict[str, np.ndarray]:
    """Our parameters by their names and in their layout; also of gradients for them."""
    flat = {name: np.asarray(value) for name, value in flatten_dict(params, sep="/").items()}
    found: dict[str, np.ndarray] = {}
    features = sizes["width"] // sizes["heads"]
    # Their pairs that turn are neighbours, ours lie half a head apart.
    order = np.arange(features).reshape(2, -1).T.reshape(-1)

    def linear(name: str, value: dict[str, np.ndarray]) -> None:
        found.update({f"{name}.weight": value["kernel"].T, f"{name}.bias": value["bias"]})

    def block(name: str, value: dict[str, np.ndarray]) -> None:
        def layer(path: str) -> dict[str, np.ndarray]:
            return {end: value[f"{path}/{end}"] for end in ("kernel", "bias")}

        qkv = {}
        for end, leaf in layer("attention/qkv").items():
            split = leaf.reshape(-1, 3, sizes["heads"], features)
            turned = np.concatenate([split[:, :2][..., order], split[:, 2:]], axis=1)
            qkv[end] = turned.reshape(leaf.shape)
        linear(f"{name}.attn.qkv", qkv)
        for ours, its in (("query", "q"), ("key", "k")):
            found[f"{name}.attn.{its}_norm.weight"] = value[f"attention/{ours}_scale"][order]
        linear(f"{name}.attn.proj", layer("attention/out"))
        linear(f"{name}.mlp.w12", layer("gated/inner"))
        linear(f"{name}.mlp.w3", layer("gated/out"))
        if network == "generator":
            linear(f"{name}.adaLN_modulation.1", layer("style"))
        else:
            found[f"{name}.norm1.weight"], found[f"{name}.norm2.weight"] = (
                value["attention_norm/scale"],
                value["gated_norm/scale"],
            )
            found[f"{name}.ls_attn"], found[f"{name}.ls_mlp"] = value["attention_size"], value["gated_size"]

    def under(path: str, number: tuple[int, ...] = ()) -> dict[str, np.ndarray]:
        return {name[len(path) + 1 :]: leaf[number] for name, leaf in flat.items() if name.startswith(f"{path}/")}

    if network == "generator":
        found["y_embedder.embedding_table.weight"] = flat["mapper/label/embedding"]
        linear("latent_embedder.0", under("mapper/dense0"))
        linear("latent_embedder.2", under("mapper/dense1"))
        each = sizes["depth"] // gat.PICTURES
        for index in range(sizes["depth"]):
            block(f"blocks.{index}", under("synthesizer/quarters/blocks", divmod(index, each)))
        for index in range(gat.PICTURES):
            linear(f"final_layers.{index}.adaLN_modulation.1", under("synthesizer/quarters/style", (index,)))
            linear(f"final_layers.{index}.linear", under("synthesizer/quarters/picture", (index,)))
    else:
        patches, patch = under("patches"), sizes["patch"]
        kernel = patches["kernel"].reshape(patch, patch, -1, sizes["width"]).transpose(3, 2, 0, 1)
        found |= {"x_embedder.proj.weight": kernel, "x_embedder.proj.bias": patches["bias"]}
        found["cls_token"] = flat["token"][None, None]
        found["y_embedder.embedding_table.weight"] = flat["label/embedding"]
        linear("y_embedder.latent_embedder.0", under("label0"))
        linear("y_embedder.latent_embedder.2", under("label1"))
        for index in range(sizes["depth"]):
            block(f"blocks.{index}", under("blocks", (index,)))
        found["final_layer.0.weight"] = flat["norm/scale"]
        linear("final_layer.1", under("logit"))
    return found


def built(sizes: dict[str, int], params: dict[str, Any], double: bool) -> dict[str, Any]:
    """Their networks with our parameters."""
    import torch
    from models.discriminator import GATD  # pyright: ignore[reportMissingImports]
    from models.generator import GAT  # pyright: ignore[reportMissingImports]

    names = {"size": "input_size", "channels": "in_channels", "width": "hidden_size", "heads": "num_heads"}
    fields: dict[str, Any] = {names.get(name, name): value for name, value in sizes.items()}
    fields |= {"patch_size": fields.pop("patch"), "num_classes": fields.pop("classes")}
    fields |= {"z_dims": [0], "qk_norm": True, "fused_attn": True}
    embedding = fields.pop("embedding")
    side, found = sizes["size"] // sizes["patch"], {}
    for name, network in (
        ("generator", GAT(latent_size=LATENT, **fields)),
        ("discriminator", GATD(cmap_dim=embedding, **fields)),
    ):
        network = network.double() if double else network
        state = {key: torch.tensor(value) for key, value in theirs(params[name], sizes, name).items()}
        left = set(network.load_state_dict(state, strict=False).missing_keys)
        fixed = {"pos_embed", "feat_rope.freqs_cos", "feat_rope.freqs_sin", "w_avg"}
        assert left - fixed <= {"x_embedder.proj.weight", "x_embedder.proj.bias"}, left
        if double:  # They compute positions in float32; here what is fixed shall not be what differs.
            network.pos_embed.data.copy_(torch.tensor(gat.positions(side, sizes["width"]))[None])
            turn = np.repeat(gat.angles(side, sizes["width"] // sizes["heads"]), 2, axis=1)
            network.feat_rope.freqs_cos.copy_(torch.tensor(np.cos(turn)))
            network.feat_rope.freqs_sin.copy_(torch.tensor(np.sin(turn)))
        found[name] = network
    return found


def channels_first(image: Any) -> Any:
    """[..., H, W, C] as PyTorch's [..., C, H, W]."""
    return np.moveaxis(np.asarray(image), -1, -3).copy()


def computed(sizes: dict[str, int], params: dict[str, Any], double: bool) -> dict[str, np.ndarray]:
    """What their networks make of our inputs."""
    import torch

    latent, image, label = inputs(sizes)
    dtype = torch.float64 if double else torch.float32
    network = built(sizes, params, double)
    y = torch.tensor(label).long()
    nothing = torch.zeros(len(label), *channels_first(image[0]).shape[1:], dtype=dtype)
    made = network["generator"](x=nothing, y=y, z=torch.tensor(latent, dtype=dtype), multiscale=True, update_ema=True)
    logits = network["discriminator"](torch.tensor(channels_first(np.stack(image)), dtype=dtype), y=y)
    return {
        "pictures": np.moveaxis(made.detach().numpy(), 2, -1),
        "logits": logits[:, 0].detach().numpy(),
        "average_style": network["generator"].w_avg.numpy(),
    }


def ours(sizes: dict[str, int], dtype: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Our networks' parameters, and what they make of the same inputs."""
    latent, image, label = inputs(sizes)
    generator, discriminator = networks(sizes, dtype)
    params = {
        "generator": weights("generator", generator, latent, label),
        "discriminator": weights("discriminator", discriminator, tuple(image), label),
    }

    def compute(params: Any, latent: Any, image: Any) -> Any:
        average = jnp.zeros((sizes["classes"], sizes["width"]), dtype)
        made, stats = generator.apply(
            {"params": params["generator"], "batch_stats": {"average_style": average}},
            latent,
            label,
            mutable=["batch_stats"],
        )
        return {
            "pictures": jnp.stack(made),
            "logits": discriminator.apply({"params": params["discriminator"]}, image, label),
            "average_style": stats["batch_stats"]["average_style"],
        }

    given = jax.tree.map(lambda leaf: leaf.astype(dtype), (params, latent, tuple(image)))
    return params, jax.tree.map(np.asarray, jax.jit(compute)(*given))


def batch() -> dict[str, np.ndarray]:
    """Real examples of a step."""
    return {
        "image": random("real", len(LABELS), *(TINY[name] for name in ("size", "size", "channels"))),
        "label": LABELS,
    }


def sample(gradient: np.ndarray) -> np.ndarray:
    """Three of the elements of an array, and its norm."""
    flat = gradient.reshape(-1)
    return np.append(flat[np.linspace(0, flat.size - 1, 3).astype(int)], np.linalg.norm(flat))


def drawn(key: jax.Array, kind: str) -> dict[str, Any]:
    """What we draw for what the discriminator is shown, as their augmentation takes it; without mean colours."""
    import torch

    index, side = jnp.arange(len(LABELS)), TINY["size"]
    keys = each(stream(stream(key, kind), "augment"), index)

    def draws(policy: Any, draw: Any) -> np.ndarray:
        return np.asarray(jax.vmap(lambda k: draw(stream(k, policy.__name__)))(keys)).astype(np.float64)

    def uniform(low: float, high: float, *shape: int) -> Any:
        return lambda k: jax.random.uniform(k, shape, jnp.float32, low, high)

    def amount(name: str, low: float, high: float) -> Any:
        found = draws(augment.colours, lambda k: uniform(low, high)(stream(k, name)))
        return torch.tensor((found - low) / (high - low)).view(-1, 1, 1, 1)

    colour = [amount("brightness", -0.5, 0.5), amount("saturation", 0, 2), amount("contrast", 0.5, 1.5)]
    happens = draws(augment.colours, uniform(0, 1)) < 0.5
    share = draws(augment.translation, lambda k: uniform(-1, 1, 2)(jax.random.fold_in(k, 1))) / 8
    shift = -np.round(share * side).astype(int)
    centre = draws(augment.cutout, lambda k: uniform(0, 1, 2)(jax.random.fold_in(k, 1)))
    corner = np.round(centre * side).astype(int)

    def per_axis(value: np.ndarray) -> list[Any]:
        return [torch.tensor(value[:, axis]).view(-1, 1, 1) for axis in (0, 1)]

    return {
        "colour": (torch.tensor(happens), colour),
        "translation": [(*per_axis(shift), side, side)],
        "cutout": [((side // 2, side // 2), *per_axis(corner), side, side)],
        "flip": [torch.tensor(draws(augment.mirror, uniform(0, 1)))],
    }


def stepped(params: dict[str, Any], key: jax.Array) -> dict[str, np.ndarray]:
    """One step of theirs with our draws: losses, penalties, and each player's gradients; the rate is 1."""
    import torch
    from losses import Rp_loss  # pyright: ignore[reportMissingImports]

    key, index = jax.random.fold_in(key, 0), jnp.arange(len(LABELS))
    shape = (TINY["size"], TINY["size"], TINY["channels"])
    network = built(TINY, params, double=True)
    queue: list[Any] = []

    def noises(kind: str) -> list[np.ndarray]:
        base = stream(stream(key, kind), "guidance")
        return [np.asarray(normal(jax.random.fold_in(base, place), index, shape)) for place in (3, 2, 1, 0)]

    def small(kind: str, pictures: int) -> list[np.ndarray]:
        zeros = (jnp.zeros((len(LABELS), *shape)),) * pictures
        return [*map(np.asarray, augment.noise(stream(key, f"difference {kind}"), index, zeros, jnp.ones(())))]

    def randn_like(x: Any) -> Any:
        return torch.tensor(channels_first(queue.pop(0).astype(np.float64)))

    augmented, kinds = Rp_loss.aug, []

    def given(x: Any, prob: float = 1.0, policy: str = "", aug_params: Any = None) -> Any:
        if aug_params is None:
            aug_params = drawn(key, kinds.pop(0))
            happens, (brightness, saturation, contrast) = aug_params.pop("colour")
            pixel, mean = x.mean(dim=1, keepdim=True), x.mean(dim=[1, 2, 3], keepdim=True)
            aug_params["color"] = [[happens, brightness, pixel, saturation, mean, contrast]]
        return augmented(x, policy=policy, aug_params=aug_params)

    Rp_loss.aug, torch.randn_like = given, randn_like
    game = Rp_loss.RpGANLoss(r1_gamma=GAMMA, r1_every=1, r2_gamma=GAMMA, r2_every=1, approximate=True)
    real = torch.tensor(channels_first(batch()["image"].astype(np.float64)))
    given_to_both = {
        "x": torch.zeros(real.shape, dtype=torch.float64),
        "y": torch.tensor(LABELS).long(),
        "z": torch.tensor(np.asarray(normal(stream(key, "latent"), index, (LATENT,))).astype(np.float64)),
    }
    recorded: dict[str, np.ndarray] = {}

    def descend(name: str, loss: Any) -> None:
        named = {key: value for key, value in network[name].named_parameters() if value.requires_grad}
        slopes = torch.autograd.grad(loss.mean(), list(named.values()), allow_unused=True)
        for (key, value), slope in zip(named.items(), slopes, strict=True):
            if slope is not None and not (name == "generator" and key.startswith("x_embedder")):
                recorded[f"{name}/{key}"] = sample(slope.numpy())
                value.data -= slope

    for value in network["generator"].pos_embed, network["discriminator"].pos_embed:
        value.requires_grad_(False)
    kinds += ["shown fake", "shown real"]
    queue += noises("shown fake") + noises("shown real") + small("real", 1) + small("fake", 4)
    loss, parts, _ = game.step_disc(
        network["generator"], network["discriminator"], None, real, None, 0, dict(given_to_both)
    )
    recorded["disc_loss"], recorded["r1_loss"], recorded["r2_loss"] = (
        parts[name].detach().mean().numpy() for name in ("disc_loss", "r1_loss", "r2_loss")
    )
    descend("discriminator", loss)
    kinds += ["shown judging", "shown judging"]
    queue += noises("shown judging") * 2
    loss, parts, _ = game.step_gen(
        network["generator"], network["discriminator"], None, real, None, 0, dict(given_to_both)
    )
    recorded["gen_loss"] = parts["gen_loss"].detach().mean().numpy()
    descend("generator", loss)
    assert not queue
    assert not kinds
    return recorded


def main(folder: str) -> None:
    os.environ["TORCHDYNAMO_DISABLE"] = "1"  # Their rotary part is compiled, and rounds otherwise.
    sys.path.insert(0, folder)
    if not _has("timm"):
        _stand_in_for_timm()
    package: Any = types.ModuleType("losses")  # Without what theirs imports for DINOv2.
    package.__path__ = [str(Path(folder) / "losses")]
    sys.modules["losses"] = package
    for name, sizes in SIZES.items():
        params, found = ours(sizes, jnp.float32)
        expected = computed(sizes, params, double=False)
        for key, value in found.items():
            difference = np.abs(value - expected[key]).max() / np.abs(expected[key]).max()
            print(f"{name} {key}: {difference:.1e} of the largest value, {np.abs(expected[key]).max():.3g}")
    with jax.enable_x64(True):
        params, found = ours(TINY, jnp.float64)
        recorded = computed(TINY, params, double=True)
        for key, value in found.items():
            print("tiny", key, np.abs(value - recorded[key]).max() / np.abs(recorded[key]).max())
        recorded |= stepped(params, jax.random.key(0))
        print({name: float(recorded[name]) for name in ("disc_loss", "r1_loss", "r2_loss", "gen_loss")})
    recorded |= saved(DATA.with_suffix(".pt"))
    np.savez_compressed(DATA, **recorded)  # pyright: ignore[reportArgumentType]
    print(DATA, DATA.stat().st_size)


def saved(path: Path) -> dict[str, np.ndarray]:
    """Writes a checkpoint as theirs, after a step; returns what its average makes of our inputs."""
    import torch

    params, _ = ours(SAVED, jnp.float32)
    network = built(SAVED, params, double=False)
    average = built(SAVED, params, double=False)["generator"]
    latent, image, label = inputs(SAVED)
    y, z = torch.tensor(label).long(), torch.tensor(latent)
    shown = torch.tensor(channels_first(np.stack(image)))
    optimizers = {}
    for name, inside in network.items():
        learned = [value for value in inside.parameters() if value.requires_grad]
        optimizer = torch.optim.AdamW(learned[-2:], lr=1e-4, betas=(0.0, 0.99), weight_decay=0.0)
        made = (
            inside(x=torch.zeros_like(shown[0]), y=y, z=z, multiscale=True, update_ema=True)
            if name == "generator"
            else inside(shown, y=y)
        )
        made.sum().backward()
        optimizer.step()
        optimizers[f"opt{name[0].upper()}"] = optimizer.state_dict()
    with torch.no_grad():
        average.w_avg.copy_(network["generator"].w_avg)
        made = average(x=torch.zeros_like(shown[0]), y=y, z=z, multiscale=True, update_ema=False)
        logits = network["discriminator"](shown, y=y)
    checkpoint = {name: inside.state_dict() for name, inside in network.items()} | {"ema": average.state_dict()}
    options = argparse.Namespace(model="GAT-S/2", resolution=64, num_classes=3, qk_norm=True, proj_coeff=0.0)
    about = {"args": options, "steps": 1, "wallclock_time": 1.5, "wandb_run_id": "none"}
    torch.save(checkpoint | optimizers | about, path)
    print(path, path.stat().st_size)
    return {"saved/picture": np.moveaxis(made[-1].numpy(), 1, -1), "saved/logits": logits[:, 0].numpy()}


def _has(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


def _stand_in_for_timm() -> None:
    """The one thing they take from timm, a convolution that embeds patches."""
    from torch import nn

    class PatchEmbed(nn.Module):
        def __init__(self, size: int, patch: int, channels: int, width: int, bias: bool = True) -> None:
            super().__init__()
            self.patch_size, self.num_patches = (patch, patch), (size // patch) ** 2
            self.proj = nn.Conv2d(channels, width, patch, patch, bias=bias)

        def forward(self, x: Any) -> Any:
            return self.proj(x).flatten(2).transpose(1, 2)

    module = types.ModuleType("timm.models.vision_transformer")
    module.__dict__.update(PatchEmbed=PatchEmbed, Mlp=nn.Module)
    sys.modules |= {"timm": types.ModuleType("timm"), "timm.models": types.ModuleType("timm.models")}
    sys.modules["timm.models.vision_transformer"] = module


if __name__ == "__main__":
    main(sys.argv[1])
