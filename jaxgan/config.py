"""Configs: frozen dataclasses that describe an experiment, as Python files and as JSON.

A file under `configs/` assigns a `Config` to the name `config`; its docstring tells the command, the time and the
measured result. A run keeps its config as JSON, which is enough to rebuild it.
"""

import ast
import dataclasses
import difflib
import functools
import itertools
import json
import math
import runpy
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import tyro
from pydantic import Field, NonNegativeInt, PositiveInt

from jaxgan.support import files
from jaxgan.support.errors import UserError

SEEDS = 2**32
"""How many seeds there are; JAX would wrap larger ones, so that two seeds gave one run."""
FEATURES = "vgg16:relu3_3"
"""What measures of samples are taken in unless somebody says otherwise: of what ships, what agrees best with eyes."""
Rate = Annotated[float, Field(ge=0, lt=1)]
_no_others = pydantic.with_config(pydantic.ConfigDict(extra="forbid"))


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class Adam:
    """How a player learns: Adam (arXiv 1412.6980), with DCGAN's settings."""

    learning_rate: pydantic.PositiveFloat = 2e-4
    """Step size. The two players' may differ: two time scales (arXiv 1706.08500)."""
    decay_steps: NonNegativeInt = 0
    """Steps in which the step size falls, by a cosine; 0 keeps it."""
    final_learning_rate: pydantic.NonNegativeFloat = 0.0
    """What it falls to."""
    beta1: Rate = 0.5
    """Decay of the average of gradients."""
    beta2: Rate = 0.999
    """Decay of the average of squared gradients."""
    final_beta2: Rate | None = None
    """What that becomes in decay_steps, by a cosine; stays if not given."""
    epsilon: pydantic.PositiveFloat = 1e-8
    """Added to the root of that average: parameters whose gradients are smaller move less."""
    clip_gradient: pydantic.NonNegativeFloat = 0.0
    """Shorten gradients that are longer than this, over all parameters; 0 for none."""


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class _Discriminator(Adam):
    dropout: Rate = 0.0
    """Share of each hidden layer's units to drop: a weaker, less certain discriminator."""
    minibatch_stddev: NonNegativeInt = 0
    """Tell the discriminator how much so many examples differ (arXiv 1710.10196); 0 for none."""
    clip_weights: pydantic.NonNegativeFloat = 0.0
    """Keep every parameter within +- this, as the first Wasserstein GAN (arXiv 1701.07875); 0 for none."""
    freeze: NonNegativeInt = 0
    """With --from: so many of its layers do not learn, counted from the picture (FreezeD, arXiv 2002.10964)."""


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class MLPGenerator(Adam):
    """Fully connected generator."""

    kind: tyro.conf.Suppress[Literal["mlp"]] = "mlp"
    widths: tuple[PositiveInt, ...] = (256, 512, 1024)
    """Units of each hidden layer."""


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class MLPDiscriminator(_Discriminator):
    """Fully connected discriminator."""

    kind: tyro.conf.Suppress[Literal["mlp"]] = "mlp"
    widths: tuple[PositiveInt, ...] = (1024, 512, 256)
    """Units of each hidden layer."""
    fourier: NonNegativeInt = 0
    """Also give it sines and cosines of so many random directions of its input: it sees finer detail, sooner (arXiv
    2006.10739); for points."""
    fourier_scale: pydantic.PositiveFloat = 1.0
    """Standard deviation of their frequencies, in radians a unit of the input."""
    norm: Literal["none", "spectral"] = "none"
    """Spectral normalisation (arXiv 1802.05957): a discriminator of bounded slope."""


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class DCGANGenerator(Adam):
    """Convolutional generator."""

    kind: tyro.conf.Suppress[Literal["dcgan"]] = "dcgan"
    width: PositiveInt = 64
    """Features of the last hidden layer; each smaller feature map has twice as many."""
    upsampling: Literal["transposed", "nearest"] = "transposed"
    """Transposed convolutions, or repeated pixels and a convolution (no checkerboard)."""


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class DCGANDiscriminator(_Discriminator):
    """Convolutional discriminator."""

    kind: tyro.conf.Suppress[Literal["dcgan"]] = "dcgan"
    width: PositiveInt = 64
    """Features of the first layer; each smaller feature map has twice as many."""
    downsampling: Literal["strided", "pooling"] = "strided"
    """Strided convolutions, or convolutions and max-pooling."""
    features: NonNegativeInt = 0
    """Length of a fully connected feature vector before the classifier; 0 for none."""
    norm: Literal["batch", "spectral", "none"] = "batch"
    """Batch normalisation as in the paper; spectral normalisation (arXiv 1802.05957): a discriminator of bounded slope;
    or none: classes are covered sooner."""


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class _Wide(Adam):
    width: PositiveInt = 16
    """Features at the full size; each smaller feature map has twice as many."""
    max_width: PositiveInt = 512
    """But at most so many."""


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class _WideDiscriminator(_Discriminator, _Wide):
    minibatch_stddev: NonNegativeInt = 4
    """Tell the discriminator how much so many examples differ (arXiv 1710.10196); 0 for none."""


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class ProgressiveGenerator(_Wide):
    """Generator of progressive growing (arXiv 1710.10196); see grow."""

    kind: tyro.conf.Suppress[Literal["progressive"]] = "progressive"


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class ProgressiveDiscriminator(_WideDiscriminator):
    """Discriminator of progressive growing."""

    kind: tyro.conf.Suppress[Literal["progressive"]] = "progressive"


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class MSGGenerator(_Wide):
    """Generator of a pyramid of pictures (MSG-GAN, arXiv 1903.06048)."""

    kind: tyro.conf.Suppress[Literal["msg"]] = "msg"


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class MSGDiscriminator(_WideDiscriminator):
    """Discriminator of a pyramid of pictures."""

    kind: tyro.conf.Suppress[Literal["msg"]] = "msg"
    combine: Literal["simple", "lin_cat", "cat_lin"] = "simple"
    """How a smaller picture joins the features of its size: appended; as features of it, appended; or appended and all
    mixed."""


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class StyleGAN2Generator(_Wide):
    """Style-based generator (arXiv 1912.04958)."""

    kind: tyro.conf.Suppress[Literal["stylegan2"]] = "stylegan2"
    width: PositiveInt = 32
    """Features at the full size; each smaller feature map has twice as many."""
    style_size: PositiveInt = 512
    """Length of a style."""
    mapping_layers: PositiveInt = 8
    """Layers that make styles of latents."""
    clamp: pydantic.NonNegativeFloat = 0.0
    """Keep what each convolution makes within +- this (arXiv 2006.06676, appendix D; 256 there); 0 for none."""
    style_mixing: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Share of samples, in training, whose finer layers get the style of another latent."""


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class StyleGAN2Discriminator(_WideDiscriminator):
    """Residual discriminator of StyleGAN2."""

    kind: tyro.conf.Suppress[Literal["stylegan2"]] = "stylegan2"
    width: PositiveInt = 32
    """Features at the full size; each smaller feature map has twice as many."""
    mapping_layers: NonNegativeInt = 8
    """Layers that make of a class what its pictures' features are compared with, where it is conditional (arXiv
    2006.06676)."""
    clamp: pydantic.NonNegativeFloat = 0.0
    """Keep what each convolution makes within +- this; 0 for none."""


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class _R3GAN(_Wide):
    width: PositiveInt = 96
    """Features at the full size; each smaller feature map has twice as many."""
    max_width: PositiveInt = 768
    """But at most so many."""
    blocks: PositiveInt = 2
    """Residual blocks at each size."""
    group_width: NonNegativeInt = 16
    """Features that a 3x3 convolution sees together; 0 for all of them."""
    expansion: PositiveInt = 2
    """A block's inner features, for each outer one."""


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class R3GANGenerator(_R3GAN):
    """Residual generator without normalisation (arXiv 2501.05441)."""

    kind: tyro.conf.Suppress[Literal["r3gan"]] = "r3gan"


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class R3GANDiscriminator(_R3GAN, _Discriminator):
    """Residual discriminator without normalisation."""

    kind: tyro.conf.Suppress[Literal["r3gan"]] = "r3gan"


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class BigGANGenerator(Adam):
    """Residual generator, conditioned through its batch normalisation (arXiv 1809.11096)."""

    kind: tyro.conf.Suppress[Literal["biggan"]] = "biggan"
    width: PositiveInt = 64
    """Features at the full size; each smaller feature map has about twice as many."""
    attention: NonNegativeInt = 0
    """Side of the feature map in which every position looks at all others (arXiv 1805.08318); 0 for none."""
    shared: PositiveInt = 128
    """Length of a class's vector."""


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class BigGANDiscriminator(_Discriminator):
    """Residual discriminator with spectral normalisation (arXiv 1802.05957)."""

    kind: tyro.conf.Suppress[Literal["biggan"]] = "biggan"
    width: PositiveInt = 64
    """Features of the first layer; each smaller feature map has about twice as many."""
    attention: NonNegativeInt = 0
    """Side of the feature map in which every position looks at all others; 0 for none."""


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class _GAT(Adam):
    width: PositiveInt = 384
    """Features of a patch; a multiple of 4 x heads."""
    depth: Annotated[int, Field(ge=4, multiple_of=4)] = 12
    """Blocks; a multiple of 4."""
    heads: PositiveInt = 6
    """How many parts of the features look at other patches by themselves."""
    patch: PositiveInt = 2
    """Side of a patch."""
    rematerialise: bool = True
    """Compute blocks again where their gradients are, rather than keep them: a quarter more work, far less memory."""


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class GATGenerator(_GAT):
    """Transformer that makes a picture after every quarter of its depth (arXiv 2509.24935); see guidance."""

    kind: tyro.conf.Suppress[Literal["gat"]] = "gat"


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class GATDiscriminator(_GAT):
    """Transformer that judges the four pictures together."""

    kind: tyro.conf.Suppress[Literal["gat"]] = "gat"
    embedding: PositiveInt = 2048
    """Length of a class's vector."""


Generator = (
    MLPGenerator
    | DCGANGenerator
    | BigGANGenerator
    | ProgressiveGenerator
    | MSGGenerator
    | StyleGAN2Generator
    | R3GANGenerator
    | GATGenerator
)
Discriminator = (
    MLPDiscriminator
    | DCGANDiscriminator
    | BigGANDiscriminator
    | ProgressiveDiscriminator
    | MSGDiscriminator
    | StyleGAN2Discriminator
    | R3GANDiscriminator
    | GATDiscriminator
)


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """An experiment. With a seed it determines every number of the run."""

    generator: Annotated[Generator, Field(discriminator="kind")] = DCGANGenerator()
    """The generator and how it learns."""
    discriminator: Annotated[Discriminator, Field(discriminator="kind")] = DCGANDiscriminator()
    """The discriminator and how it learns."""
    start: Annotated[str, tyro.conf.arg(name="from", metavar="RUN|FILE")] = ""
    """Begin with the networks of another run, or of a file that `jaxgan export` wrote or `jaxgan import` reads: to
    fine-tune to other data, or to go on with other settings after a NaN. Layers of the same name and shape are taken,
    and what is not is named; the optimisers are new. The run is as complete as any other, and never needs RUN again."""
    data: str = "mnist"
    """The data set: mnist, digits; stacked_mnist, three digits as the channels of a picture, 1000 modes; ring or grid,
    8 or 25 Gaussians in the plane; a folder or an archive of pictures, or a set made of one (`jaxgan data
    make`); an .npz or .npy file; or a data set of TensorFlow Datasets, tfds:NAME."""
    data_dir: str = ""
    """Where TensorFlow Datasets keeps its sets; its own default if not given."""
    split: str = "train"
    """Which part of a set of TensorFlow Datasets, such as train[:80%]."""
    size: PositiveInt | None = None
    """Side of the pictures, pixels: what those of a folder are brought to (64 if not given), or those of TensorFlow
    Datasets; with vary_real crop what is cut out of them."""
    vary_real: tuple[Literal["flip", "crop", "colour"], ...] = ()
    """Vary real pictures each time they are used: mirror every second one, cut out a square a little smaller than they
    are, change colours a little. Samples will vary so, too."""
    stream: bool | None = None
    """Read pictures as they are needed, rather than keep all on the device; if not given, whether they would take up
    more than a quarter of its free memory. The numbers of a run are the same."""
    conditional: bool = False
    """Give both networks the labels, so that one can ask for a class."""
    fake_labels: Literal["real", "uniform"] = "real"
    """Labels of fakes in training: those of the real examples beside them, or any class as often as any other (BigGAN).
    """
    latent_size: PositiveInt = 100
    """Length of a latent vector."""
    batch_size: PositiveInt = 128
    """Real examples a discriminator update, and fakes."""
    discriminator_updates: PositiveInt = 1
    """Updates of the discriminator for each update of the generator."""
    accumulate: PositiveInt = 1
    """Deal every batch into so many parts, computed one after another in the memory of one; batch normalisation sees
    each part by itself, otherwise the update is the same."""
    loss: Literal[
        "non_saturating",
        "minimax",
        "least_squares",
        "wasserstein",
        "hinge",
        "relativistic_paired",
        "relativistic_average",
    ] = "non_saturating"
    """What each player wants. wasserstein needs a penalty, clipped weights or spectral normalisation."""
    smooth_real: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """One-sided label smoothing: the discriminator's target for real examples is 1 less this (cross-entropy and least
    squares)."""
    smooth_fake: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """With it, two-sided: the target for fakes is this."""
    noisy_labels: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Share of real and fake examples exchanged in the discriminator's loss."""
    r1: pydantic.NonNegativeFloat = 0.0
    """Weight of the R1 penalty, which keeps the discriminator smooth around the data (arXiv 1801.04406); 0 for none."""
    r2: pydantic.NonNegativeFloat = 0.0
    """Weight of the same around fakes (arXiv 2501.05441); 0 for none."""
    difference: pydantic.NonNegativeFloat = 0.0
    """Measure R1 and R2 by how much logits change when noise of this standard deviation is added to pictures, without
    second derivatives (arXiv 2509.24935; 0.01 there); 0 for exact gradients. The discriminator then computes in float32
    whatever the precision."""
    gradient_penalty: pydantic.NonNegativeFloat = 0.0
    """Weight of WGAN-GP's penalty: slope 1 between real and fake (arXiv 1704.00028; 10 there); 0 for none."""
    dragan: pydantic.NonNegativeFloat = 0.0
    """Weight of DRAGAN's penalty: slope 1 around real examples (arXiv 1705.07215; 10 there); 0 for none."""
    drift: pydantic.NonNegativeFloat = 0.0
    """Weight of the square of real examples' logits, to which the Wasserstein loss gives no zero (arXiv 1710.10196,
    appendix A.1; 0.001 there); 0 for none."""
    penalty_at: Literal["picture", "shown"] = "picture"
    """Where R1 and R2 take the slope: at the pictures before augmentation, as the papers' authors do, or at what the
    discriminator is shown, as runs from before there was a choice. A difference is always of the pictures."""
    penalty_every: PositiveInt = 1
    """Penalise at every Nth step only, N times as strongly: nearly the same for less work."""
    penalty_decay_steps: NonNegativeInt = 0
    """Steps in which the weights of R1 and R2 fall, by a cosine; 0 keeps them."""
    penalty_final: Annotated[float, Field(ge=0, le=1)] = 0.1
    """To this share of what they were."""
    path_length: pydantic.NonNegativeFloat = 0.0
    """Weight of StyleGAN2's penalty on the generator: equal steps of style should change the picture equally (arXiv
    1912.04958; 2 there); 0 for none."""
    path_every: PositiveInt = 4
    """Apply that at every Nth step only, N times as strongly."""
    grow: tuple[PositiveInt, ...] = ()
    """Progressive growing: the steps after which the size of pictures doubles, the last time to that of the data."""
    fade_steps: NonNegativeInt = 0
    """Steps in which new layers are faded in, each time."""
    grow_fade_steps: tuple[PositiveInt, ...] = ()
    """The same at each size but the smallest; fade_steps at all if not given."""
    grow_batch_sizes: tuple[PositiveInt, ...] = ()
    """The batch size at each size, from the smallest on; batch_size at all if not given."""
    grow_rates: tuple[pydantic.PositiveFloat, ...] = ()
    """Factor of both learning rates at each size; 1 if not given."""
    consistency: pydantic.NonNegativeFloat = 0.0
    """Weight of consistency regularisation: shifted images get the same logit (arXiv 2002.04724); 0 for none."""
    augment: tuple[
        Literal[
            "colour",
            "translation",
            "cutout",
            "flip",
            "colours",
            "mirror",
            "blit",
            "geometry",
            "tone",
            "rare_tone",
            "filter",
            "grain",
        ],
        ...,
    ] = ()
    """Augment what the discriminator sees, differentiably: for small data sets. colour, translation and cutout are
    DiffAugment's (arXiv 2006.10738); blit, geometry and tone are ADA's (arXiv 2006.06676), which also has filter, grain
    and cutout; with rare_tone for tone, R3GAN's. GAT's authors change all colours together, every second time
    (colours), and mirror two times in five."""
    augment_probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Of each augmentation for each example; with --ada-target where it begins."""
    augment_rise_steps: NonNegativeInt = 0
    """Steps in which the probability rises to that from 0, by a cosine; 0 for at once."""
    ada_target: Annotated[float, Field(ge=-1, le=1)] | None = None
    """Adapt that probability, so that the discriminator is right about so much more than it is wrong (arXiv 2006.06676;
    0.6 there): about the sign of a real example, or by relativistic and Wasserstein losses about pairs."""
    ada_images: PositiveInt = 500_000
    """Real examples until the probability has gone from 0 to 1."""
    guidance: tuple[Rate, ...] = ()
    """GAT's generator makes four pictures: the share of noise in which the discriminator sees each, from the first to
    the last, beside as many of real ones."""
    instance_noise: pydantic.NonNegativeFloat = 0.0
    """Standard deviation of noise on all that the discriminator sees (arXiv 1701.04862); 0 for none."""
    instance_noise_steps: NonNegativeInt = 0
    """Steps in which the noise falls to zero; 0 keeps it."""
    pack: PositiveInt = 1
    """Examples the discriminator judges together: it sees whether they are alike (PacGAN, arXiv 1712.04086)."""
    skip_discriminator_below: float | None = None
    """Leave out the discriminator's updates while its smoothed loss, penalties included, is below this: balance."""
    skip_generator_below: float | None = None
    """Leave out the generator's likewise."""
    ema_decay: Rate = 0.999
    """Decay of the moving average of the generator that samples are drawn from; warmed up, so that it begins short."""
    ema_start: NonNegativeInt = 0
    """Steps in which the average is the generator itself; after that the decay is whole. 0 warms it up."""
    ema_half_life: pydantic.NonNegativeFloat = 0.0
    """The average's half-life in real examples, in place of ema_decay; 0 for that."""
    ema_ramp: pydantic.PositiveFloat | None = None
    """That half-life is at most this share of the examples seen so far (arXiv 2006.06676; 0.05 there)."""
    ema_rise_steps: NonNegativeInt = 0
    """Steps in which that half-life rises from 0, by a cosine (arXiv 2501.05441); 0 for at once."""
    latents: bool = False
    """The data are latents of an autoencoder (`jaxgan data make --latents`); size is of these, an eighth of the
    pictures', and what is drawn is decoded."""
    quick_steps: NonNegativeInt | None = 1000
    """Steps, of the last size where pictures grow, until convolutions on CPU change over from the form that compiles
    quickly to the one that runs fast; without a number, Winograd's algorithm everywhere from the first step on, as in
    runs from before there was a choice."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What networks compute in; parameters, losses and optimisers are float32."""
    seed: Annotated[int, Field(ge=0, lt=SEEDS)] = 0
    """Of everything random; 0 to 4294967295."""
    steps: PositiveInt = 2000
    """Length of the run; a finished run goes on when this is raised."""
    log_every: PositiveInt = 10
    """Steps between lines of metrics.jsonl and points in TensorBoard."""
    sample_every: PositiveInt = 200
    """Steps between pictures of samples."""
    checkpoint_every: PositiveInt = 500
    """Steps between checkpoints."""
    evaluate_every: NonNegativeInt = 0
    """Steps between measurements of samples against the data, as `jaxgan evaluate RUN` makes them; 0 for none."""
    evaluate_count: Annotated[int, Field(ge=2)] = 1000
    """Samples, and as many real pictures (half of them at the most), that these are made of."""
    evaluate_features: str = FEATURES
    """What their distances are taken in; see `jaxgan evaluate --help`."""
    evaluate_weights: str | None = None
    """File or URL of the weights of these features; vgg16 needs none."""
    best: Literal["", "diversity/coverage", "modes/high_quality", "modes/kl", "frechet", "sliced_wasserstein"] = ""
    """Keep the checkpoint, among those of steps with samples, or for the last two with measurements, at which this was
    best; `jaxgan sample RUN --best`."""
    patience: NonNegativeInt = 0
    """Stop when so many looks, or measurements, in a row were no better than the best; 0 for never."""
    keep_last: PositiveInt = 2
    """Checkpoints to keep, counted from the newest."""
    keep_every: PositiveInt | None = None
    """Also keep for good each checkpoint whose step is a multiple of this."""


FREE = {"steps", "sample_every", "checkpoint_every", "evaluate_every", "keep_last", "keep_every", "best", "patience"}
FREE |= {"evaluate_weights"}  # The same file may be elsewhere.
FREE |= {"data", "data_dir", "stream"}  # Whether the data are the same, a run finds out by looking at them.
"""Fields that may change when a run goes on: they bear on how long and what is kept, not on any number of the run."""

_MADE_OF = ("generator.", "discriminator.", "latent_size", "size", "conditional", "pack", "start")
_NOT_OF = (".learning_rate", ".freeze")

MEASURED = ("frechet", "sliced_wasserstein")
"""Of `Config.best`, what comes of measurements."""

SHIPPED = ("mnist", "stacked_mnist", "ring", "grid")
"""Data that ship with the package."""

NETWORKS = ("emoji",)
"""Trained networks that ship with the package."""

IN_MEMORY = "arrays"
"""What `data` is of a run that was given its data by a program (`jaxgan.train`)."""

BEFORE: dict[str, Any] = {"quick_steps": None, "penalty_at": "shown", "discriminator.mapping_layers": 0}
"""Fields whose defaults are not what runs did before there were such fields, by their paths: and what those did."""

_KINDS = {kind.kind for kind in typing.get_args(Generator)}
_ADAPTER = pydantic.TypeAdapter(Config)


def validate(config: Config, where: str) -> Config:
    """Checks every field's type and range.

    Args:
        config: the config.
        where: named by the error: a file, or "command line".

    Raises:
        UserError: names the first bad field and what it should be.
    """
    return from_json(to_json(config), where)


def to_json(config: Config) -> str:
    """The config as JSON text, fields in order."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str, where: str) -> Config:
    """Rebuilds a config from `to_json`'s text.

    Raises:
        UserError: names `where`, the first bad field, what it should be, and for an unknown field the nearest name.
    """
    try:
        config = _ADAPTER.validate_json(text)
        given = _flatten(json.loads(text))
        return _agreeing(_with(config, {name: was for name, was in BEFORE.items() if name not in given}), where)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
    # A union's member is part of pydantic's path ("generator.dcgan.width"); it is not part of ours.
    path = [str(part) for part in first["loc"] if part not in _KINDS]
    message = f"{first['msg'][0].lower()}{first['msg'][1:]}"
    if first["type"] == "unexpected_keyword_argument":
        message = f"no such field{nearest(path[-1], _field_names())}"
    value = first["input"]
    shown = f" (it is {value!r})" if isinstance(value, str | int | float) and path else ""
    raise UserError(f"{where}: {'.'.join(path) or 'not a config'}: {message}{shown}")


def _agreeing(config: Config, where: str) -> Config:
    """Refuses fields that contradict one another."""
    points = config.data in ("ring", "grid")
    unit = group(config)
    targets = ("non_saturating", "minimax", "least_squares")
    smoothed = "smooth_real" if config.smooth_real else "smooth_fake"
    kinds, stages = {config.generator.kind, config.discriminator.kind}, len(config.grow) + 1
    wrong = {
        f"{smoothed}: the loss {config.loss} has no targets; take one of {', '.join(targets)}": (
            config.smooth_real or config.smooth_fake
        )
        and config.loss not in targets,
        "generator, discriminator: convolutional networks need images, and this data is points; take MLPGenerator and "
        "MLPDiscriminator": points and kinds != {"mlp"},
        "generator, discriminator: of progressive growing, MSG-GAN and GAT go with their own kind only, not "
        f"{config.generator.kind} with {config.discriminator.kind}": kinds & {"msg", "progressive", "gat"}
        and len(kinds) > 1,
        "generator, discriminator: GAT's width must be a multiple of 4 x heads": any(
            isinstance(player, _GAT) and player.width % (4 * player.heads)
            for player in (config.generator, config.discriminator)
        ),
        "guidance: a GAT generator makes four pictures, for which it takes four shares of noise, falling": (
            len(config.guidance) != (4 if "gat" in kinds else 0) or sorted(config.guidance)[::-1] != [*config.guidance]
        ),
        "grow: only progressive generators and discriminators grow": config.grow and kinds != {"progressive"},
        "grow, fade_steps: steps must rise, by fade_steps at least, or a size is never quite there": any(
            later - earlier < max(1, fade)
            for (earlier, later), fade in zip(itertools.pairwise(config.grow), _fades(config)[1:-1], strict=True)
        ),
        f"grow_batch_sizes, grow_rates: need one for each of {stages} sizes": any(
            values and len(values) != stages for values in (config.grow_batch_sizes, config.grow_rates)
        ),
        f"grow_fade_steps: needs one for each of {stages - 1} sizes but the smallest": config.grow_fade_steps
        and len(config.grow_fade_steps) != stages - 1,
        "fake_labels: uniform ones need --conditional": config.fake_labels != "real" and not config.conditional,
        "ema_ramp, ema_rise_steps: need ema_half_life": (config.ema_ramp or config.ema_rise_steps)
        and not config.ema_half_life,
        "augment_rise_steps: does not go with ada_target, which sets the probability": config.augment_rise_steps
        and config.ada_target is not None,
        "decay_steps: does not go with grow, which begins anew at each size; see grow_rates": config.grow
        and (config.generator.decay_steps or config.discriminator.decay_steps),
        "final_beta2: needs decay_steps": any(
            player.final_beta2 is not None and not player.decay_steps
            for player in (config.generator, config.discriminator)
        ),
        "path_length: needs a generator with styles, StyleGAN2Generator": config.path_length
        and config.generator.kind != "stylegan2",
        "augment, consistency: need images, and this data is points": points and (config.augment or config.consistency),
        f"conditional: {config.data} has no labels": config.conditional and config.data in SHIPPED[1:],
        f"vary_real, size: {config.data} has pictures of one size, which stay as they are": config.data in SHIPPED
        and (config.vary_real or config.size),
        "vary_real: colours are of pictures, and these are latents; leave colour out": config.latents
        and "colour" in config.vary_real,
        "pack: does not go with conditional": config.pack > 1 and config.conditional,
        f"batch_size: {config.batch_size} is not a multiple of pack x discriminator.minibatch_stddev"
        f"{' (and even, for path_length)' if config.path_length else ''}, {unit}": any(
            size % unit for size in (config.batch_size, *config.grow_batch_sizes)
        ),
        "discriminator.freeze: holds what has been learned; give --from a run or a file": getattr(
            config.discriminator, "freeze", 0
        )
        and not config.start,
        "grow: does not go with --from, whose networks have grown; give --grow without sizes": config.grow
        and config.start,
        "patience: needs to know what is better; set best": config.patience and not config.best,
        f"best: {config.best} needs measurements; set evaluate_every": config.best in MEASURED
        and not config.evaluate_every,
        f"evaluate_every: {config.data} has no pictures to measure samples against; see best": config.evaluate_every
        and config.data in SHIPPED[1:],
        f"best: {config.data} has no modes to count; take diversity/coverage": config.best.startswith("modes/")
        and config.data not in SHIPPED[1:],
        "ada_target: names no augmentation to adapt; set augment": config.ada_target is not None and not config.augment,
    }
    for message, found in wrong.items():
        if found:
            raise UserError(f"{where}: {message}")
    return config


def group(config: Config) -> int:
    """How many examples are looked at together: batches, and the parts of them, are of whole groups."""
    together = config.pack * max(1, getattr(config.discriminator, "minibatch_stddev", 0))
    return math.lcm(together, 2) if config.path_length else together


def stages(config: Config) -> tuple[Config, ...]:
    """What a config that grows is at each size, from the smallest on: batch size, learning rates, fading."""
    if not config.grow:
        return (config,)
    count = len(config.grow) + 1

    def rated(player: Any, factor: float) -> Any:
        return dataclasses.replace(player, learning_rate=factor * player.learning_rate)

    return tuple(
        dataclasses.replace(
            config,
            batch_size=size,
            generator=rated(config.generator, factor),
            discriminator=rated(config.discriminator, factor),
            fade_steps=fade,
        )
        for fade, size, factor in zip(
            _fades(config),
            config.grow_batch_sizes or (config.batch_size,) * count,
            config.grow_rates or (1.0,) * count,
            strict=True,
        )
    )


def _fades(config: Config) -> tuple[int, ...]:
    """Steps in which the layers of each size are faded in, from the smallest size on, to which nothing fades."""
    later = len(config.grow)
    fades = config.grow_fade_steps or (config.fade_steps,) * later
    return (0, *fades, *(config.fade_steps,) * later)[: later + 1]


def differences(old: Config, new: Config) -> list[str]:
    """The fields in which a config may not follow another, and does not, as "generator.width (64, now 32)".

    These are all but `FREE`; after a run without data, of a generator trained elsewhere, only those that its networks
    and optimisers are made of.
    """
    a, b = _flatten(dataclasses.asdict(old)), _flatten(dataclasses.asdict(new))
    changed = [name for name in a | b if a.get(name) != b.get(name) and name not in FREE]
    if not old.evaluate_every:  # Nothing was measured in other features.
        changed = [name for name in changed if not name.startswith("evaluate_")]
    if not old.data:
        changed = [name for name in changed if name.startswith(_MADE_OF) and not name.endswith(_NOT_OF)]
    return [f"{name} ({a.get(name)}, now {b.get(name)})" for name in changed]


def following(config: Config, begun: Config) -> Config:
    """The config, doing what a run that began before there was a choice of it does (see `BEFORE`)."""
    flat = _flatten(dataclasses.asdict(begun))
    return _with(config, {name: was for name, was in BEFORE.items() if name in flat and flat[name] == was})


def _with(config: Config, values: dict[str, Any]) -> Config:
    """The config with these values of fields, by their paths, where it has such fields."""
    flat = _flatten(dataclasses.asdict(config))
    for name in values.keys() & flat.keys():
        config = replaced_unchecked(config, name, values[name])
    return config


def differing(configs: Sequence[Config]) -> dict[str, list[Any]]:
    """The fields in which configs differ, by their paths, with each one's value; None where it has none."""
    flat = [_flatten(dataclasses.asdict(config)) for config in configs]
    values = {name: [own.get(name) for own in flat] for name in dict.fromkeys(itertools.chain(*flat))}
    return {name: found for name, found in values.items() if any(value != found[0] for value in found)}


def value(config: Config, name: str) -> Any:
    """The value of a field by its path, "generator.learning_rate"."""
    return functools.reduce(getattr, name.split("."), config)


def placed(config: Config) -> Config:
    """The config with the whole path of its data, where they are files: a run goes on wherever it is called from."""
    if config.start and config.start not in NETWORKS:
        config = dataclasses.replace(config, start=str(files.expanded(config.start).absolute()))
    path = files.expanded(config.data)
    if not config.data or config.data in SHIPPED or not (files.is_file(path) or files.is_dir(path)):
        return config
    return dataclasses.replace(config, data=str(path.absolute()))


def replaced(config: Config, changes: Mapping[str, Any]) -> Config:
    """A config with some fields changed, which is checked when all of them are.

    Args:
        config: the config.
        changes: of the fields' paths ("generator.learning_rate") the new values, as JSON has them.

    Raises:
        UserError: names the field: there is none such, or the value does not fit it or another.
    """
    tree = dataclasses.asdict(config)
    for name, value in changes.items():
        *path, last = name.replace("-", "_").split(".")
        inner = functools.reduce(lambda inner, part: inner.get(part, {}), path, tree)
        if not isinstance(inner, dict) or last not in inner:
            raise UserError(f"{name}: no such field{nearest(name, _flatten(tree))}")
        inner[last] = value
    return from_json(json.dumps(tree), ", ".join(changes))


def replaced_unchecked(config: Config, name: str, value: Any) -> Config:
    """As `replaced`, with any value at all: a traced one."""
    first, _, rest = name.partition(".")
    if rest:
        value = replaced_unchecked(getattr(config, first), rest, value)
    return dataclasses.replace(config, **{first: value})


def folder() -> Path:
    """Where the configs are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def names() -> dict[str, str]:
    """Every config's name and the first line of its docstring."""
    files = sorted(path for path in folder().glob("*.py") if path.stem != "__init__")
    return {path.stem: (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0] for path in files}


def load(target: str) -> tuple[str, Config]:
    """Loads a config by name (of a file under `configs/`) or by the path of a Python file.

    Returns:
        Its name and the config.

    Raises:
        UserError: there is no such config (with the nearest name), or the file makes none.
    """
    path = Path(target) if target.endswith(".py") else folder() / f"{target}.py"
    if not files.is_file(path):
        raise UserError(
            f"{target}: no such config or run{nearest(target, names())}; `jaxgan configs` lists the configs"
        )
    try:
        config = runpy.run_path(str(path)).get("config")
    except Exception as error:
        raise UserError(f"{path}: {type(error).__name__}: {error}") from error
    if not isinstance(config, Config):
        raise UserError(f"{path}: must assign a jaxgan.config.Config to the name `config`")
    return path.stem, validate(config, str(path))


def nearest(name: str, known: Any) -> str:
    """A hint for a misspelt name, "; did you mean width?", or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _field_names() -> set[str]:
    kinds = (Config, *typing.get_args(Generator), *typing.get_args(Discriminator))
    return {field.name for kind in kinds for field in dataclasses.fields(kind)}


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
