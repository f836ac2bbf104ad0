"""Style transfer as one pure function, `stylize`, and the pieces it is made of.

The picture is optimised in stages, from small to large, in a compiled loop a stage. A small picture is quick and gets
the large forms right, since the network sees farther in it; each larger one starts from it, adds detail, and is held to
it, so that a picture looks alike at every size.

References:
    Gatys, Ecker and Bethge, A Neural Algorithm of Artistic Style, arXiv 1508.06576.
    Gatys et al., Controlling Perceptual Factors in Neural Style Transfer, arXiv 1611.07865 (stages, masks).
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from jaxgan.style import losses, recipe, vgg
from jaxgan.support.errors import UserError

Layers = recipe.Layers
History = dict[str, jax.Array]

LEAST = 32
"""The least width and height of a stage: five blocks of the network halve it four times."""
_WORTH_COMPILING = 5e6
"""Pixels, times iterations, from which on the fast form of convolutions saves more time than it takes to compile."""

_STATIC = {"static": True}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to want and how to get there.

    The numbers may be traced: `vmap` over an `Options` whose leaves are arrays tries many weights in one program.

    Attributes:
        content_weight: of the content loss.
        style_weight: of the style loss.
        tv_weight: of the total variation.
        blend: [S], how much of each style; all the same if None. Not used with masks.
        average: decay of the average of iterates, which is the result; 0 gives the last iterate.
        content_layers: where contents are compared.
        style_layers: where styles are compared.
        style_loss: how styles are compared: `losses.GRAM`, `losses.WASSERSTEIN` or `losses.STATISTICS`.
        relative: divide each layer's loss by that of features which are all zero. A loss of 1 is then "as bad as
            nothing" at each layer of each network, and no layer or network outweighs others by the scale of its
            features. False gives the losses of Gatys et al.
        tv_power: 1 or 2, see `losses.total_variation`.
        init: what to start from: the content, uniform noise, or noise with the colours of the style.
        optimizer: any Optax transformation, line searches included; give the same object each time, so that compiled
            programs are found again. None: `optimizer("adam", ...)`.
        padding: what the network sees beyond the picture's edges, whatever its module says; see `vgg.VGG`.
        coarse_weight: of the distance from the result of the stage before, at that one's size.
        temporal_weight: of the distance from a frame before; see `stylize`.
        grey: keep the picture grey: all three channels get the mean of their gradients.
        stages: (size as a fraction of the content's, iterations), from small to large. None: as `recipe.stages` has
            them for the content's size.
        band_rows: evaluate the network in bands of so many rows (a multiple of 32), one after another, in the memory
            of one; the result is the same. 0: all at once.
        rows: splits the rows of the picture over devices; see `jaxgan.style.parallel`.
    """

    content_weight: Any = recipe.CONTENT_WEIGHT
    style_weight: Any = recipe.STYLE_WEIGHT
    tv_weight: Any = recipe.TV_WEIGHT
    coarse_weight: Any = recipe.COARSE_WEIGHT
    temporal_weight: Any = recipe.TEMPORAL_WEIGHT
    blend: Any = None
    average: Any = recipe.AVERAGE
    content_layers: Layers = dataclasses.field(default=recipe.CONTENT_LAYERS, metadata=_STATIC)
    style_layers: Layers = dataclasses.field(default=recipe.STYLE_LAYERS, metadata=_STATIC)
    style_loss: losses.StyleLoss = dataclasses.field(default=losses.BY_NAME[recipe.STYLE_LOSS], metadata=_STATIC)
    padding: recipe.Padding = dataclasses.field(default=recipe.PADDING, metadata=_STATIC)
    grey: bool = dataclasses.field(default=False, metadata=_STATIC)
    relative: bool = dataclasses.field(default=True, metadata=_STATIC)
    tv_power: int = dataclasses.field(default=2, metadata=_STATIC)
    init: Literal["content", "noise", "statistics"] = dataclasses.field(default="content", metadata=_STATIC)
    optimizer: optax.GradientTransformation | None = dataclasses.field(default=None, metadata=_STATIC)
    stages: tuple[tuple[float, int], ...] | None = dataclasses.field(default=None, metadata=_STATIC)
    band_rows: int = dataclasses.field(default=0, metadata=_STATIC)
    rows: jax.sharding.NamedSharding | None = dataclasses.field(default=None, metadata=_STATIC)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Targets:
    """What a stage aims at.

    Attributes:
        content: features [1, h, w, C] of the content, a layer each.
        content_scale: what each layer's content loss is divided by.
        style: for each layer a tuple of targets, one a region.
        style_scale: for each layer a tuple of what the style losses are divided by.
        masks: for each layer the regions' weights [R, h, w]; None: one region, the picture.
        temporal: the frame before, and how far it is to be trusted; see `Temporal`.
    """

    content: dict[str, jax.Array]
    content_scale: dict[str, jax.Array]
    style: dict[str, tuple[Any, ...]]
    style_scale: dict[str, tuple[jax.Array, ...]]
    masks: dict[str, jax.Array] | None
    temporal: "Temporal | None" = None


class Temporal(NamedTuple):
    """What a frame of a film is held to.

    Attributes:
        frame: [H, W, 3] in 0..1, the result of the frame before, moved along the optical flow to this one.
        trust: [H, W] in 0..1, 0 where the flow disagrees with itself or the frame before shows nothing of this one.
    """

    frame: jax.Array
    trust: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """All that the optimisation remembers.

    Attributes:
        image: [H, W, 3] in 0..1, the iterate.
        optimizer: the state of the optimiser.
        sum: exponentially weighted sum of the stage's iterates, [H, W, 3].
        weight: sum of those weights.
        coarse: [h, w, 3] in 0..1, the result of the stage before; [0, 0, 3] at the first.
    """

    image: jax.Array
    optimizer: Any
    sum: jax.Array
    weight: jax.Array
    coarse: jax.Array


def stylize(
    network: vgg.Network,
    content: jax.Array,
    styles: Sequence[jax.Array],
    options: Options,
    key: jax.Array,
    masks: jax.Array | None = None,
    start: jax.Array | None = None,
    chunk: int = 0,
    on_chunk: Callable[[State, History], None] | None = None,
    temporal: Temporal | None = None,
    resume: tuple[int, State] | None = None,
) -> tuple[jax.Array, History]:
    """Gives a content the look of styles.

    Pure; works under `jit` and `vmap`, where `on_chunk` must be None. Called plainly, it compiles a program a stage.

    Args:
        network: the network that features come from.
        content: [H, W, 3], RGB in 0..1.
        styles: pictures [h, w, 3], RGB in 0..1. A larger one gives larger strokes.
        options: what to want.
        key: PRNG key; only a start from noise draws.
        masks: [S, H, W] in 0..1, where each of the S styles belongs; edges may be soft. None: everywhere.
        start: [H, W, 3], what to start from, instead of `options.init`.
        chunk: iterations from one call of `on_chunk` to the next; 0: a stage.
        on_chunk: called now and then with the state (to be read before it returns: its memory is used again) and the
            losses of the iterations since the last call. What it raises ends the transfer.
        temporal: the frame before, of a film; adds a loss "temporal".
        resume: iterations already done, one or more, and the state after them as `on_chunk` had it: goes on from
            there, with the same numbers as without an interruption.

    Returns:
        The picture [H, W, 3] in 0..1, and the losses "total", "content", "style", "tv" and "coarse" [iterations] of the
        iterates, those before `resume` left out; total is the weighted sum of the others.

    Raises:
        UserError: pictures, masks or layers do not fit.
    """
    if options.stages is None:
        options = dataclasses.replace(options, stages=recipe.stages(content.shape))
    assert options.stages is not None
    _check(network, content, styles, options, masks, start, temporal)
    before, state = (0, None) if resume is None else resume
    histories, first = [], 0
    quick, fast = network.using(form="quick"), network.using(form="fast")
    for fraction, iterations in options.stages:
        past, first = max(before - first, 0), first + iterations
        if before and past >= iterations and first != sum(count for _, count in options.stages):
            continue
        size = stage_size(content.shape, fraction)
        targets = prepare(quick, content, tuple(styles), options, masks, fraction, temporal)
        if state is None:
            state = begin(content, tuple(styles), options, key, start, size)
        elif not past:
            state = enlarge(options, state, size)
        here = fast if size[0] * size[1] * iterations > _WORTH_COMPILING else quick
        limit = min(chunk or iterations, iterations)
        for done in range(past, iterations, max(limit, 1)):
            count = min(limit, iterations - done)
            state, history = iterate(here, targets, options, state, jnp.int32(count), limit)
            histories.append({name: values[:count] for name, values in history.items()})
            if on_chunk is not None:
                on_chunk(state, histories[-1])
    assert state is not None
    return picture(state), {name: jnp.concatenate([part[name] for part in histories]) for name in histories[0]}


@functools.cache
def optimizer(
    name: Literal["adam", "lbfgs", "sgd"], iterations: int, learning_rate: float | None = None
) -> optax.GradientTransformation:
    """An optimiser by name; the same object at each call, so that programs compiled with it are found again.

    Args:
        name: "sgd" has momentum 0.9 and divides gradients by their root mean square, so that its learning rate, as
            Adam's, is a change of pixels and means the same at every size and weight.
        iterations: of all stages together. Over the last third of them the learning rate falls to a fiftieth: small
            steps settle. L-BFGS searches for its own steps.
        learning_rate: by default 0.03 for Adam (0.05 leaves coloured spots on faces), 0.005 for SGD; 1, times what the
            line search finds, for L-BFGS.
    """
    if name == "lbfgs":
        return optax.lbfgs(learning_rate)
    rate = learning_rate or {"adam": 0.03, "sgd": 0.005}[name]
    third = max(iterations // 3, 1)
    schedule = optax.join_schedules(
        [optax.constant_schedule(rate), optax.linear_schedule(rate, rate / 50, third)], [iterations - third]
    )
    if name == "adam":
        return optax.adam(schedule, b2=0.99)

    def normalize(gradient: Any, _: Any) -> Any:
        return gradient / (jnp.sqrt(jnp.mean(jnp.square(gradient))) + 1e-12)

    return optax.chain(optax.stateless(normalize), optax.sgd(schedule, momentum=0.9))


def _optimizer(options: Options) -> optax.GradientTransformationExtraArgs:
    chosen = options.optimizer
    if chosen is None:
        chosen = optimizer("adam", sum(n for _, n in options.stages) if options.stages else recipe.STEPS)
    return optax.with_extra_args_support(chosen)


def stage_size(shape: tuple[int, ...], fraction: float) -> tuple[int, int]:
    """Height and width of a stage for pictures [H, W, ...]."""
    return round(shape[0] * fraction), round(shape[1] * fraction)


@functools.partial(jax.jit, static_argnames="fraction")
def prepare(
    network: vgg.Network,
    content: jax.Array,
    styles: tuple[jax.Array, ...],
    options: Options,
    masks: jax.Array | None,
    fraction: float,
    temporal: Temporal | None = None,
) -> Targets:
    """What a stage aims at: the features of the content and the moments of the styles, at its size."""
    size = stage_size(content.shape, fraction)
    content = resize(content, size)
    goals = _content_features(network, options, content)
    layers = [name for name, _ in options.style_layers]
    # A style too small for the network would have no features at all.
    sizes = [stage_size(style.shape, fraction) for style in styles]
    styles = tuple(resize(s, (max(h, LEAST), max(w, LEAST))) for s, (h, w) in zip(styles, sizes, strict=True))
    means = [_style_means(network, options, style) for style in styles]
    if masks is None:
        blend = jnp.ones(len(styles)) if options.blend is None else jnp.asarray(options.blend, jnp.float32)
        blend = blend / jnp.sum(blend)
        means = [jax.tree.map(lambda *values: sum(b * v for b, v in zip(blend, values, strict=True)), *means)]
    target, distance = options.style_loss.target, options.style_loss.distance
    style = {name: tuple(target(mean[name]) for mean in means) for name in layers}

    def scale(worst: jax.Array) -> jax.Array:
        return worst + 1e-12 if options.relative else jnp.float32(1)

    return Targets(
        content=goals,
        content_scale={name: scale(losses.content(jnp.zeros_like(goal), goal)) for name, goal in goals.items()},
        style=style,
        style_scale={
            name: tuple(
                scale(distance(jax.tree.map(jnp.zeros_like, mean[name]), goal))
                for mean, goal in zip(means, style[name], strict=True)
            )
            for name in layers
        },
        masks=None if masks is None else {name: _layer_masks(masks, content.shape, name) for name in layers},
        temporal=None
        if temporal is None
        else Temporal(resize(temporal.frame, size), resize(temporal.trust[..., None], size)[..., 0]),
    )


@functools.partial(jax.jit, static_argnames="size")
def begin(
    content: jax.Array,
    styles: tuple[jax.Array, ...],
    options: Options,
    key: jax.Array,
    start: jax.Array | None,
    size: tuple[int, int],
) -> State:
    """The state before the first iteration."""
    if start is not None or options.init == "content":
        image = resize(content if start is None else start, size)
    elif options.init == "noise":
        image = jax.random.uniform(key, (*size, 3))
    else:
        pixels = jnp.concatenate([style.reshape(-1, 3) for style in styles])
        mean = jnp.mean(pixels, axis=0)
        values, vectors = jnp.linalg.eigh(losses.gram(pixels - mean))
        noise = jax.random.normal(key, (*size, 3)) * jnp.sqrt(jnp.maximum(values, 0))
        image = jnp.clip(mean + noise @ vectors.T, 0, 1)
    if options.grey:
        image = _greyed(image)
    return _fresh(image, _optimizer(options).init(image), jnp.zeros((0, 0, 3)))


@functools.partial(jax.jit, static_argnames="size")
def enlarge(options: Options, state: State, size: tuple[int, int]) -> State:
    """The state at the beginning of the next stage: the picture, and the optimiser's moments, brought to its size.

    It is held to the result so far; where the size stays, to what that was held to.

    An optimiser that remembers anything but numbers and arrays like the picture (L-BFGS) starts afresh.
    """
    shape = state.image.shape
    result = picture(state)
    coarse = state.coarse if shape[:2] == size else result
    image = resize(result, size)
    fresh = _optimizer(options).init(image)
    pairs = zip(jax.tree.leaves(state.optimizer), jax.tree.leaves(fresh), strict=True)
    if not all(old.shape in (shape, ()) for old, _ in pairs):
        return _fresh(image, fresh, coarse)
    # Linear interpolation keeps second moments positive.
    carried = [
        jax.image.resize(old, image.shape, "linear") if old.shape == shape else old
        for old in jax.tree.leaves(state.optimizer)
    ]
    return _fresh(image, jax.tree.unflatten(jax.tree.structure(fresh), carried), coarse)


@functools.partial(jax.jit, static_argnames="limit", donate_argnames="state")
def iterate(
    network: vgg.Network, targets: Targets, options: Options, state: State, count: jax.Array, limit: int
) -> tuple[State, History]:
    """Runs some iterations of a stage.

    Args:
        network: the network.
        targets: what the stage aims at.
        options: what to want.
        state: the state; its memory is used for the result.
        count: iterations, not above `limit`. Traced: any count runs the same program.
        limit: length of the history.

    Returns:
        The state, and the losses [limit] before each update; those beyond `count` are 0.
    """
    optimizer = _optimizer(options)

    def total(image: jax.Array) -> jax.Array:
        return objective(network, targets, options, image, state.coarse)[0]

    def body(index: jax.Array, carry: tuple[State, History]) -> tuple[State, History]:
        state, history = carry
        image = state.image
        differentiated = jax.value_and_grad(objective, argnums=3, has_aux=True)
        (_, parts), gradient = differentiated(network, targets, options, image, state.coarse)
        if options.grey:
            gradient = _greyed(gradient)
        # Optax's bias correction raises a float to an integer count, which strict dtype promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            updates, memory = optimizer.update(
                gradient, state.optimizer, image, value=parts["total"], grad=gradient, value_fn=total
            )
        image = jnp.clip(jnp.asarray(optax.apply_updates(image, updates)), 0, 1)
        decay = jnp.asarray(options.average, jnp.float32)
        state = dataclasses.replace(
            state,
            image=image,
            optimizer=memory,
            sum=decay * state.sum + (1 - decay) * image,
            weight=decay * state.weight + (1 - decay),
        )
        return state, {name: history[name].at[index].set(value) for name, value in parts.items()}

    names = ["total", "content", "style", "tv", "coarse", *(["temporal"] if targets.temporal is not None else [])]
    history = {name: jnp.zeros(limit) for name in names}
    return lax.fori_loop(0, count, body, (state, history))


def objective(
    network: vgg.Network, targets: Targets, options: Options, image: jax.Array, coarse: jax.Array | None = None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of a picture [H, W, 3]: the weighted sum, and its parts by their names in the history.

    Args:
        network: the network.
        targets: what the picture aims at.
        options: what to want.
        image: the picture.
        coarse: [h, w, 3], a smaller result to be held to; None or [0, 0, 3]: none.
    """
    if options.rows is not None:
        image = lax.with_sharding_constraint(image, options.rows)
    style_layers, content_layers = dict(options.style_layers), dict(options.content_layers)
    content_weights = {name: w / sum(content_layers.values()) for name, w in content_layers.items()}
    moments = options.style_loss.moments
    regions = len(next(iter(targets.style.values())))

    def measure(features: dict[str, jax.Array], band: _Band | None) -> Any:
        content = jnp.float32(0)
        for name, weight in content_weights.items():
            goal = _rows(targets.content[name], features[name].shape[1], band, name, axis=1)
            difference = jnp.square(features[name].astype(jnp.float32) - goal.astype(jnp.float32))
            if band is not None:
                difference = difference * _owned(band, features[name].shape[1], name)[None, :, None, None]
            loss = jnp.sum(difference) / (2 * targets.content[name].size)
            content = content + weight * loss / targets.content_scale[name]
        sums, weights = {}, {}
        for name in style_layers:
            height, width, channels = features[name].shape[1:]
            flat = features[name].reshape(-1, channels)
            here = []
            for region in range(regions):
                weight = None
                if targets.masks is not None:
                    weight = _rows(targets.masks[name][region], height, band, name, axis=0)
                if band is not None:
                    owned = jnp.broadcast_to(_owned(band, height, name)[:, None], (height, width))
                    weight = owned if weight is None else weight * owned
                here.append(None if weight is None else weight.reshape(-1))
            sums[name] = tuple(moments(flat, weight) for weight in here)
            weights[name] = tuple(jnp.float32(flat.shape[0]) if w is None else jnp.sum(w) for w in here)
        return content, sums, weights

    layers = [*content_layers, *style_layers]
    content, sums, weights = _sum_over_bands(network, options, image, layers, measure)
    style = jnp.float32(0)
    for name, layer_weight in style_layers.items():
        shares = [weight / (sum(weights[name]) + 1e-6) for weight in weights[name]]
        for region in range(regions):
            count = weights[name][region] + 1e-6
            mean = jax.tree.map(lambda value, count=count: value / count, sums[name][region])
            loss = options.style_loss.distance(mean, targets.style[name][region])
            loss = loss / targets.style_scale[name][region]
            style = style + shares[region] * loss * (layer_weight / sum(style_layers.values()))
    apart = jnp.float32(0)
    if coarse is not None and coarse.size:
        apart = jnp.mean(jnp.square(resize(image, (coarse.shape[0], coarse.shape[1])) - coarse))
    variation = losses.total_variation(image, options.tv_power)
    parts = {"content": content, "style": style, "tv": variation, "coarse": apart}
    if targets.temporal is not None:
        parts["temporal"] = losses.temporal(image, targets.temporal.frame, targets.temporal.trust)
    total = jnp.float32(0)
    for name, value in parts.items():
        total = total + jnp.asarray(getattr(options, f"{name}_weight"), jnp.float32) * value
    return total, parts | {"total": total}


def picture(state: State) -> jax.Array:
    """The result so far: the average of the stage's iterates, [H, W, 3] in 0..1."""
    return jnp.where(state.weight > 0, jnp.clip(state.sum / jnp.maximum(state.weight, 1e-6), 0, 1), state.image)


def resize(image: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Brings a picture [H, W, C] in 0..1 to a height and width, with antialiasing."""
    if image.shape[:2] == size:
        return image
    return jnp.clip(jax.image.resize(image, (*size, image.shape[2]), "lanczos3"), 0, 1)


def _greyed(image: jax.Array) -> jax.Array:
    return jnp.broadcast_to(jnp.mean(image, axis=-1, keepdims=True), image.shape)


def _fresh(image: jax.Array, optimizer: Any, coarse: jax.Array) -> State:
    # An optimiser may begin with weakly typed numbers, and have strong ones after an update: a second program.
    optimizer = jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), optimizer)
    return State(image, optimizer, jnp.zeros_like(image), jnp.float32(0), coarse)


class _Band(NamedTuple):
    """Rows of a picture that the network sees at once: a window from `origin`, that answers for begin <= row < end."""

    origin: jax.Array
    begin: jax.Array
    end: jax.Array


def _sum_over_bands(
    network: vgg.Network,
    options: Options,
    image: jax.Array,
    layers: Sequence[str],
    measure: Callable[[dict[str, jax.Array], _Band | None], Any],
) -> Any:
    """Sum of a measurement of features over the bands of a picture; band None stands for the whole.

    A band's window reaches beyond its rows as far as the network looks, or to the picture's true edge; so its features
    are those of the whole picture. Each band's features are computed again for the gradient, which keeps the memory to
    that of one.
    """
    network = network.using(padding=options.padding)
    height = image.shape[0]
    halo = vgg.halo(network.module, layers)
    window = options.band_rows + 2 * halo + height % vgg.UNIT
    if not options.band_rows or window >= height:
        return measure(network.features(image[None], layers), None)
    begin = np.arange(0, height, options.band_rows, dtype=np.int32)
    origin = np.clip(begin - halo, 0, height - window)
    bands = _Band(jnp.asarray(origin), jnp.asarray(begin), jnp.asarray(begin + options.band_rows))

    @jax.checkpoint
    def one(image: jax.Array, band: _Band) -> Any:
        part = lax.dynamic_slice_in_dim(image, band.origin, window)
        return measure(network.features(part[None], layers), band)

    def body(sums: Any, band: _Band) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, sums, one(image, band)), None

    shapes = jax.eval_shape(one, image, jax.tree.map(lambda leaf: leaf[0], bands))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return lax.scan(body, zeros, bands)[0]


def _owned(band: _Band, rows: int, layer: str) -> jax.Array:
    """Float [rows]: which rows of a layer's features in the band's window the band answers for."""
    step = vgg.shrinkage(layer)
    row = band.origin + jnp.arange(rows, dtype=jnp.int32) * step
    return ((row >= band.begin) & (row < band.end)).astype(jnp.float32)


def _rows(whole: jax.Array, rows: int, band: _Band | None, layer: str, axis: int) -> jax.Array:
    """The rows of something as large as a layer's features that lie in the band's window."""
    if band is None:
        return whole
    return lax.dynamic_slice_in_dim(whole, band.origin // vgg.shrinkage(layer), rows, axis)


def _content_features(network: vgg.Network, options: Options, content: jax.Array) -> dict[str, jax.Array]:
    """Features of the content, put together from its bands."""
    layers = [name for name, _ in options.content_layers]

    def place(features: dict[str, jax.Array], band: _Band | None) -> dict[str, jax.Array]:
        if band is None:
            return features
        placed = {}
        for name, value in features.items():
            owned = _owned(band, value.shape[1], name).astype(value.dtype)[None, :, None, None]
            whole = jnp.zeros((1, content.shape[0] // vgg.shrinkage(name), *value.shape[2:]), value.dtype)
            start = (jnp.int32(0), band.origin // vgg.shrinkage(name), jnp.int32(0), jnp.int32(0))
            placed[name] = lax.dynamic_update_slice(whole, value * owned, start)
        return placed

    return _sum_over_bands(network, options, content, layers, place)


def _style_means(network: vgg.Network, options: Options, style: jax.Array) -> dict[str, Any]:
    """Moments of a style at each layer, divided by the number of positions."""
    layers = [name for name, _ in options.style_layers]

    def measure(features: dict[str, jax.Array], band: _Band | None) -> Any:
        sums = {}
        for name, value in features.items():
            _, height, width, channels = value.shape
            weight = None
            if band is not None:
                weight = jnp.broadcast_to(_owned(band, height, name)[:, None], (height, width)).reshape(-1)
            sums[name] = options.style_loss.moments(value.reshape(-1, channels), weight)
        return sums

    sums = _sum_over_bands(network, options, style, layers, measure)
    sizes = {name: [size // vgg.shrinkage(name) for size in style.shape[:2]] for name in layers}
    return {name: jax.tree.map(lambda leaf, n=n: leaf / (n[0] * n[1]), sums[name]) for name, n in sizes.items()}


def _layer_masks(masks: jax.Array, shape: tuple[int, ...], layer: str) -> jax.Array:
    """[S, H, W] -> [S, h, w] at a layer's size, for pictures of this shape."""
    step = vgg.shrinkage(layer)
    return jax.image.resize(masks, (masks.shape[0], shape[0] // step, shape[1] // step), "linear")


def _check(
    network: vgg.Network,
    content: jax.Array,
    styles: Sequence[jax.Array],
    options: Options,
    masks: jax.Array | None,
    start: jax.Array | None,
    temporal: Temporal | None,
) -> None:
    pictures = {"content": content} | {f"style {index}": style for index, style in enumerate(styles)}
    for name, image in (pictures if start is None else pictures | {"start": start}).items():
        if image.ndim != 3 or image.shape[2] != 3:
            raise UserError(f"{name}: must be an RGB picture [H, W, 3], not of shape {list(image.shape)}")
    if not styles:
        raise UserError("styles: at least one is needed")
    if not options.stages:
        raise UserError("stages: at least one is needed")
    height, width = stage_size(content.shape, options.stages[0][0])
    if min(height, width) < LEAST:
        raise UserError(
            f"content: {width} x {height} at the first stage, where the network needs at least {LEAST} x {LEAST} "
            "pixels: take a larger size or fewer stages"
        )
    if masks is not None and masks.shape != (len(styles), *content.shape[:2]):
        wanted = [len(styles), *content.shape[:2]]
        raise UserError(f"masks: must be one a style, of the content's size: {wanted}, not {list(masks.shape)}")
    if temporal is not None and (temporal.frame.shape, temporal.trust.shape) != (content.shape, content.shape[:2]):
        raise UserError(
            f"temporal: the frame before and its trust must be of the content's size, {list(content.shape[:2])}, not "
            f"{list(temporal.frame.shape)} and {list(temporal.trust.shape)}"
        )
    if options.blend is not None and len(options.blend) != len(styles):
        raise UserError(f"blend: {len(options.blend)} weights for {len(styles)} styles")
    if options.band_rows % vgg.UNIT:
        raise UserError(f"band_rows: must be a multiple of {vgg.UNIT}, not {options.band_rows}")
    vgg.check_layers(network.module, [name for name, _ in (*options.content_layers, *options.style_layers)])
