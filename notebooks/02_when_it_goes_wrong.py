# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # When it goes wrong
#
# A GAN is a game, and games can be lost: by the generator, by the discriminator, or by both running in circles. Here
# you will break some on purpose. The data are points in the plane, so that you see everything at once: the samples,
# what the discriminator thinks of *every* place, and which way it pulls each sample. A run takes a few seconds.
#
# You will see a generator collapse, and a discriminator win. You will try remedies one at a time, of which some do
# nothing: a remedy is for one illness. At the end pictures get larger, and other things go wrong.
#
# You should know what the two players' losses are ([A GAN from scratch](01_from_scratch.ipynb)). It takes about three
# minutes on two CPU cores.
#
# **Before you begin.** Think of an answer to each, then unfold.
#
# <details><summary>1. A generator makes perfect sevens and nothing else. Which term of its loss tells it to make other
# digits, too?</summary>
# None. Its loss is a mean over samples, and the discriminator looks at one sample at a time. Each seven by itself
# is beyond reproach.</details>
#
# <details><summary>2. The discriminator is right about every picture. Why is that bad for the generator?</summary>
# The generator learns from the discriminator's slope: in which direction would this fake look more real? A
# discriminator that is sure everywhere around the fakes is flat there.</details>
#
# <details><summary>3. Training is unstable. Is it enough to lower the learning rate?</summary>
# There are two of them. How they stand to each other matters as much as how large they are; you will see a map of
# both.</details>

# %%
import dataclasses
import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
from matplotlib.figure import Figure

import jaxgan
from jaxgan import train_step
from jaxgan.data import load_mnist
from jaxgan.data.mixture import RING, draw
from jaxgan.evaluate import modes
from jaxgan.latent import sampling
from jaxgan.models import msg
from jaxgan.support import images
from jaxgan.support.cells import show

QUICK = "JAXGAN_QUICK" in os.environ  # Only to test that every cell runs.
STEPS, LOOKS, SWEEP = (20, 20, 5) if QUICK else (2000, 200, 1500)
SIDE, WIDE, DISCS, PYRAMID = (8, 2, 2, 2) if QUICK else (32, 8, 800, 900)
GROW, GROWN = ((2,), 4) if QUICK else ((300, 800, 1400), 2400)

# %% [markdown]
# ## Eight Gaussians
#
# The data are 100,000 points from eight narrow Gaussians on a circle. The generator turns two random numbers into a
# point; the discriminator turns a point into one number. Each Gaussian is a **mode**. A sample within three standard
# deviations of a centre counts for that mode.
#
# jaxgan has a config for this, `ring`, but that one holds every remedy already. `PLAIN` takes them out again and leaves
# the first GAN: the non-saturating loss, Adam, nothing else. `play` is one run, with one or two things changed.


# %%
def both(**fields):
    """The same for both players."""
    return {f"{player}.{name}": value for player in ("generator", "discriminator") for name, value in fields.items()}


PLAIN = {"loss": "non_saturating", "r1": 0.0, "r2": 0.0, "discriminator.fourier": 0}
PLAIN |= both(learning_rate=1e-3, beta1=0.5, beta2=0.999, decay_steps=0)
RHYTHM = {"steps": STEPS, "sample_every": LOOKS} | (both(widths=(8,)) if QUICK else {})


def play(**changes):
    return jaxgan.train("ring", quiet=True, **(PLAIN | RHYTHM | changes))


# %% [markdown]
# ## The landscape and the pull
#
# For every run we draw one kind of map:
#
# - the **colour** is `D(x)` at that place: orange is "real", purple is "fake", white is "cannot tell";
# - the **circles** are the eight modes, the **dots** are samples;
# - an **arrow** at a sample is where the discriminator pulls it: minus the gradient of the generator's loss by the
#   sample. The generator's parameters feel nothing else: this arrow, passed back through the generator, is their
#   gradient. Long arrows are drawn shorter than they are; the mean length of all is in the title.


# %%
LATENT, REACH = jax.random.key(1), 1.6
POINTS = jnp.asarray(draw(RING, 2500))


def pulled(run):
    """The samples of a run, and the pull on each."""
    game, state = run.game, run.state
    fakes = train_step.generate(game, state.generator.variables, sampling.draw_latents(game, LATENT, len(POINTS)))

    def logits(points):  # A discriminator that judges several points together is shown one of them several times.
        return game.discriminator.apply(state.discriminator.variables, jnp.tile(points, game.pack))

    def loss(fakes):
        return len(fakes) * game.loss.generator(logits(POINTS), logits(fakes))

    return np.asarray(fakes), -np.asarray(jax.grad(loss)(fakes))


def draw_map(axes, run, title):
    fakes, pull = pulled(run)
    says = jax.nn.sigmoid(sampling.landscape(run.game, run.state.discriminator.variables, REACH))
    axes.imshow(says, extent=(-REACH, REACH) * 2, origin="lower", cmap="PuOr_r", vmin=0, vmax=1, alpha=0.8)
    axes.scatter(*np.transpose(RING.centres), s=60, facecolors="none", edgecolors="black", linewidths=0.7)
    axes.scatter(*fakes[:400].T, s=3, color="black", linewidths=0)
    length = np.linalg.norm(pull, axis=1, keepdims=True)
    arrows = 0.35 * pull / (1 + length)
    axes.quiver(*fakes[:40].T, *arrows[:40].T, angles="xy", scale_units="xy", scale=1, width=0.006)
    found = modes.judge_points(fakes, RING).modes
    axes.set_title(f"{title}\n{found} of 8 modes, pull {length.mean():.2g}", fontsize=8)
    axes.set(xticks=[], yticks=[], xlim=(-REACH, REACH), ylim=(-REACH, REACH))


def panels(count):
    figure = Figure(figsize=(2.5 * count, 3), layout="constrained")
    return figure, np.atleast_1d(figure.subplots(1, count))


def maps(runs, alt):
    """A map for each of some runs, which are given by their titles."""
    figure, places = panels(len(runs))
    for axes, (title, run) in zip(places, runs.items(), strict=True):
        draw_map(axes, run, title)
    return show(figure, alt)


def moments(run, steps, alt):
    """The maps of one run at some steps, to each of which it goes on."""
    figure, places = panels(len(steps))
    for axes, step in zip(places, steps, strict=True):
        draw_map(axes, run.train(step, quiet=True), f"step {step}")
    return show(figure, alt)


healthy = play(steps=STEPS // 40 or 1)
_ = moments(
    healthy,
    [STEPS // 40 or 1, STEPS // 10, STEPS // 4, STEPS],
    "Four maps of a healthy run. The samples are first a thin cloud, then scattered, then a ring, and at last at all "
    "eight modes, each an orange spot in purple, with arrows that point to it.",
)
print(healthy.diagnosis)

# %% [markdown]
# This one went well, and you can read why. At first `D` knows nothing: the map is white, the arrows are tiny. By step
# 500 it has found out that real points lie on a ring, and every arrow points towards the ring. At the end it has a spot
# for each mode. The samples are *not* at rest: a mode that has too many samples turns purple, and its samples are
# pushed off. The two players stay in motion around the solution.
#
# ## Collapse, on purpose
#
# Now two changes that look harmless. Adam gets its usual momentum, `beta1 = 0.9`, in place of 0.5, and the generator
# learns three times as fast as before. Below are four moments, only twenty steps apart.

# %%
FAST = both(beta1=0.9) | {"generator.learning_rate": 3e-3}
ill = play(**FAST)
diagnosis = ill.diagnosis
_ = moments(
    ill,
    [STEPS + STEPS * part // 100 for part in range(4)],
    "Four maps, twenty steps apart. All samples are one clump, which runs along the ring; the orange part of the ring "
    "is always where the clump is not.",
)
print(diagnosis)

# %% [markdown]
# The whole generator has become one clump, and it *runs*. Where the clump is, real points are outnumbered, so `D`
# learns to say "fake" there. The rest of the ring turns orange and pulls. All samples feel the same pull, so all of
# them go, together. By the time they arrive, `D` has learned that too. Momentum makes it worse: the generator
# goes on in a direction that was right some steps ago.
#
# This is **mode collapse**. The losses would not have told you: they oscillate, as in any GAN. The diagnosis looks at
# something else: how much two samples differ, beside how much two real points do.
#
# ## A cell a remedy
#
# One change at a time, all else as in the run that collapsed.
#
# **No momentum.** `beta1 = 0`: the generator goes where the slope points *now*.

# %%
remedies = {"no momentum": play(**(FAST | both(beta1=0.0)))}
print(remedies["no momentum"].diagnosis)

# %% [markdown]
# **Unequal rates**, the other way round: the generator learns a third as fast as the discriminator. Known as *two
# time-scale update rule*, TTUR ([arXiv 1706.08500](https://arxiv.org/abs/1706.08500)). `D` then has a whole map before
# `G` has moved far.

# %%
remedies["slower generator"] = play(**(FAST | {"generator.learning_rate": 3e-4}))
print(remedies["slower generator"].diagnosis)

# %% [markdown]
# **Packing.** `D` gets four samples at once and judges them together (PacGAN, [arXiv
# 1712.04086](https://arxiv.org/abs/1712.04086)). Four real points are rarely all in one place. Four samples of a clump
# always are, and now `D` can say so.

# %%
remedies["packs of four"] = play(**FAST, pack=4)
print(remedies["packs of four"].diagnosis)

# %% [markdown]
# **R1**, a penalty on the slope of `D` at real points ([arXiv 1801.04406](https://arxiv.org/abs/1801.04406)). It keeps
# the landscape smooth, and it is in almost every GAN that works today.

# %%
remedies["R1"] = play(**FAST, r1=0.1)
print(remedies["R1"].diagnosis)

# %%
_ = maps(
    remedies,
    "Maps of the four remedies. Without momentum, with a slower generator, and with packs the samples are around the "
    "whole ring. With R1 they are still one clump, on a map that is nearly white.",
)

# %% [markdown]
# Three of four work; R1 does not. It cures slopes that are too steep, and steep slopes were not the matter here. The
# generator overran `D`, and it does so on a smooth landscape, too.
#
# None of the three is free. Packs see whether samples vary more than where exactly they lie: the samples are all around
# the ring, and few are *at* a mode. The slower generator is simply not there yet.
#
# ## The discriminator wins
#
# Now the opposite. Give `D` sharper eyes: sines and cosines of its input (`fourier`), with which it sees fine detail at
# once. And give the generator the loss of the game as first written down, *minimax*: for its fakes $x$ it minimises
# $\log(1 - D(x))$, where so far it minimised $-\log D(x)$.

# %%
SHARP = {"loss": "minimax", "discriminator.fourier": 32, "discriminator.fourier_scale": 3.0}
won = play(**SHARP)
print(won.diagnosis)

# %% [markdown]
# `D` has eight orange spots, exactly where they should be, and is sure of purple everywhere else. It could not be
# better. But no arrow is left: $\log(1 - D(x))$ is flat where $D(x)$ is near 0, and that is where all samples are. The
# generator stands still, far from the data, for ever.
#
# Remedies again, each alone. First the **non-saturating loss**, which is steep exactly there.

# %%
sharp = {"D has won": won, "non-saturating": play(**(SHARP | {"loss": "non_saturating"}))}
print(sharp["non-saturating"].diagnosis)

# %% [markdown]
# **Unequal rates** again, this time the other way round: `D` learns ten times slower than `G`.

# %%
sharp["slower D"] = play(**SHARP, **{"discriminator.learning_rate": 1e-4})
print(sharp["slower D"].diagnosis)

# %%
_ = maps(
    sharp,
    "Three maps. D has won: eight small orange spots, samples far from them, no arrows. Non-saturating: samples at two "
    "modes, with arrows. Slower D: samples at some modes of one side.",
)

# %% [markdown]
# The arrows are back in both, but now most modes are missing: out of one trap, into the next.
#
# **Skipping.** Leave out the update of `D` while its loss is below 1, about three quarters of what it is when `D` can
# only guess. The option is called `skip_discriminator_below` (and its mirror `skip_generator_below`).

# %%
better = {"skipping D": play(**SHARP, skip_discriminator_below=1.0)}
print(better["skipping D"].diagnosis)
skipped = int(better["skipping D"].state.discriminator.skipped)
print(f"{skipped / STEPS:.0%} of the updates of D were left out")

# %% [markdown]
# **R1**, as above, and **instance noise**, a little noise on everything that `D` sees, real and fake, so that it cannot
# be so sure.

# %%
better["with R1"] = play(**SHARP, r1=0.1)
better["with noise"] = play(**SHARP, instance_noise=0.1)
_ = maps(
    better,
    "Three maps: with skipping, R1 or noise samples are at all eight modes; with R1 and noise the landscape is soft.",
)

# %% [markdown]
# R1, which did nothing against the collapse, is the best remedy here, with noise close behind: both forbid the cliffs.
# Skipping works as well, though `D` slept through most of the training.
#
# Here is everything so far. What counts is the *averaged* generator, a running mean of its parameters, which jaxgan
# samples from: it does not jitter. `good` is the share of samples at a mode. `uneven` is 0 if all modes have equally
# many, and 2.08 if one has all (it is the reverse KL divergence).


# %%
def table(runs):
    print(f"{'':18}{'modes':>7}{'good':>7}{'uneven':>9}  state")
    for name, run in runs.items():
        fakes = train_step.generate(run.game, run.state.ema, sampling.draw_latents(run.game, LATENT, 2500))
        found = modes.judge_points(np.asarray(fakes), RING)
        state = run.diagnosis.split(":")[0]
        print(f"{name:18}{found.modes:>5}/8{found.high_quality:>7.0%}{found.kl:>9.3f}  {state}")


print("momentum, a fast generator")
table({"no remedy": ill} | remedies)
print("\na sharp discriminator, the minimax loss")
table(sharp | better)

# %% [markdown]
# So: **look first, then choose**. What is called "R1 helps" or "TTUR helps" is true of one illness and not of another.
# Recipes that work out of the box combine what does not get in each other's way. The config `ring` as it ships has no
# momentum, a relativistic loss, R1 and R2 (the same penalty at fakes), and the sharp discriminator: where its slope is
# bounded, its sharp eyes do no harm.

# %%
recipe = jaxgan.train("ring", quiet=True, **RHYTHM)
table({"the recipe": recipe})

# %% [markdown]
# After 2,000 steps that is as good as the best above. It is made for 40,000, in which its rates fall to zero; then 97 %
# of its samples are good.

# %% [markdown]
# ## A sweep of learning rates, in one program
#
# Two learning rates, five values each: 25 runs. `jaxgan.train_step` is a pure function of rules, state and batch, so
# nothing keeps them from being *one* program. Write one run as a function of the two rates; `jax.vmap` makes it 25,
# `jax.jit` compiles them together.

# %%
RATES = jnp.array([1e-4, 3e-4, 1e-3, 3e-3, 1e-2])
everything, key = jnp.asarray(draw(RING)), jax.random.key(0)


@jax.jit
@jax.vmap
def member(g_rate, d_rate):
    """Samples of a plain GAN with these learning rates."""
    game = dataclasses.replace(
        healthy.game,
        generator_optimizer=optax.adam(g_rate, b1=0.5),
        discriminator_optimizer=optax.adam(d_rate, b1=0.5),
    )

    def step(state, number):
        chosen = jax.random.randint(jax.random.fold_in(key, number), (100,), 0, len(everything))
        return train_step.train_step(game, state, {"image": everything[chosen]}, key)[0], None

    begin = train_step.init(game, {"image": everything[:100]}, key)
    state, _ = jax.lax.scan(step, begin, jnp.arange(SWEEP))
    return train_step.generate(game, state.ema, train_step.latents(game, key, 1000))


g_rates, d_rates = jnp.meshgrid(RATES, RATES[::-1])
samples = np.asarray(member(g_rates.ravel(), d_rates.ravel()))
figure = Figure(figsize=(6, 6), layout="constrained")
grid = figure.subplots(5, 5)
for axes, points in zip(grid.ravel(), samples, strict=True):
    found = modes.judge_points(points, RING)
    axes.set_facecolor(matplotlib.colormaps["cividis"](0.4 + 0.6 * found.modes / 8))
    axes.scatter(*points.T, s=1, color="black", linewidths=0)
    axes.text(0.04, 0.96, f"{found.modes}/8, {found.high_quality:.0%}", transform=axes.transAxes, fontsize=7, va="top")
    axes.set(xticks=[], yticks=[], xlim=(-1.7, 1.7), ylim=(-1.7, 1.9))
for rate, bottom, left in zip(RATES, grid[-1], grid[::-1, 0], strict=True):
    bottom.set_xlabel(f"{rate:g}")
    left.set_ylabel(f"{rate:g}")
figure.supxlabel("the generator's learning rate")
figure.supylabel("the discriminator's learning rate")
_ = show(
    figure,
    "Twenty-five small pictures of samples, by both learning rates: modes found, and share of good samples. A "
    "yellow block in the middle has all eight modes; a fast generator (right), a fast discriminator (top) and a slow "
    "one (bottom) have dark fields with a clump, a few modes, or a cloud.",
)

# %% [markdown]
# There is a comfortable middle, and each edge fails in its own way. Right: the generator is too fast, and collapses
# into a clump, whatever `D` does. Top: `D` is too fast, and most generators get stuck at a few modes. Bottom: `D` is
# too slow to say anything useful; the corner with 8 of 8 is a cloud that happens to touch all of them, as its 2 % of
# good samples give away. On the diagonal from there to the top right the *ratio* is the same everywhere, only the size
# changes, and it goes from a cloud through rings to a single point: so size and ratio matter both.
#
# From a shell, with plots, checkpoints and a diagnosis for each member, also in one program:
#
#     jaxgan sweep ring --seeds 3 --vary generator.learning_rate=1e-3,3e-3 --vary discriminator.learning_rate=1e-3,3e-3
#
# ## Larger pictures: checkerboards
#
# Generators of pictures double the size a few times. A *transposed* convolution does it in one layer: it lays down a
# copy of its kernel for every input pixel, two pixels apart. With a kernel of 3 x 3 these copies overlap unevenly. With
# 4 x 4 they overlap evenly, but the four pixels that grow out of one still come from *different* weights of the kernel.
# Repeating pixels and then convolving gives all four the same weights. Feed each a constant picture:

# %%
flat, kernels = jnp.ones((1, 6, 6, 1)), jax.random.normal(jax.random.key(4), (4, 4, 1, 1))


def after(layer, x, kernel):
    made = layer(1, kernel.shape[:2], 1 if layer is nn.Conv else 2, use_bias=False)
    return np.asarray(made.apply({"params": {"kernel": kernel}}, x))[0, 2:-2, 2:-2, 0]


doubling = {
    "transposed, 3 x 3 of ones": after(nn.ConvTranspose, flat, jnp.ones((3, 3, 1, 1))),
    "transposed, 4 x 4 at random": after(nn.ConvTranspose, flat, kernels),
    "repeated, 3 x 3 at random": after(nn.Conv, flat.repeat(2, 1).repeat(2, 2), kernels[:3, :3]),
}
figure = Figure(figsize=(7.5, 2.6), layout="constrained")
for axes, (name, made) in zip(figure.subplots(1, 3), doubling.items(), strict=True):
    axes.imshow(made, cmap="cividis", vmin=made.min() - 0.1, vmax=made.max() + 0.1)
    axes.set_title(name, fontsize=9)
    axes.set_axis_off()
_ = show(figure, "What three layers make of a constant: two checkerboards by transposed convolutions, one flat square.")

# %% [markdown]
# A network can learn kernels that cancel the pattern, but it has to learn that, and nothing in the layer helps. To see
# it in a GAN, train on something flat: soft discs of one colour on another. The two runs differ in one field,
# `generator.upsampling`. How much of a picture is checkerboard can be measured: the share of its power at the finest
# frequency there is, a pattern that repeats every two pixels.


# %%
def discs(count=1000, size=SIDE, seed=0):
    random = np.random.default_rng(seed)
    back, front = random.uniform(60, 230, (2, count, 1, 1, 3))
    x, y = random.uniform(0.35, 0.65, (2, count, 1, 1))
    place = (np.arange(size) + 0.5) / size
    distance = np.hypot(place - x, place[:, None] - y) - random.uniform(0.15, 0.3, (count, 1, 1))
    return (back + (front - back) / (1 + np.exp(2 * size * distance))[..., None]).round().astype(np.uint8)


def checkered(pictures):
    """The share of the power that repeats every two pixels."""
    grey = pictures.mean(-1)
    power = np.abs(np.fft.fft2(grey - grey.mean((1, 2), keepdims=True))) ** 2
    finest = pictures.shape[1] // 2
    return (power[:, finest].sum() + power[:, :, finest].sum()) / power.sum()


real = discs()
shown = {"real": real[:200]}
for upsampling in ("transposed", "nearest"):
    run = jaxgan.train(
        "own_images",
        real,
        quiet=True,
        steps=DISCS,
        augment=(),
        vary_real=(),
        **both(width=WIDE, learning_rate=1e-3),
        **{"generator.upsampling": upsampling},
    )
    shown[upsampling] = sampling.pictures(run.game, run.state.ema, sampling.draw_latents(run.game, LATENT, 200))
for name, pictures in shown.items():
    print(f"{name:11} {checkered(pictures):.4%} of the power is checkerboard")
sheets = [images.grid(pictures[:8], 4, least_width=300) for pictures in shown.values()]
_ = show(
    np.concatenate(sheets, 1),
    "Left, real discs. Middle, samples with transposed convolutions: a fine grid lies over all of them. Right, samples "
    "with repeated pixels: soft, without a grid.",
)

# %% [markdown]
# That is why `own_images` and all newer families of jaxgan repeat pixels. The discriminator has the mirror of the
# problem: strided convolutions pass gradients back in the same uneven way. StyleGAN2 therefore blurs before it halves.
#
# ## Larger pictures: from 4 pixels on
#
# The larger the picture, the easier `D` finds something wrong with it, and the less the generator learns from that. Two
# ways out begin where the game is easy, with 4 x 4 pixels.
#
# **Progressive growing** ([arXiv 1710.10196](https://arxiv.org/abs/1710.10196)) trains at 4 x 4 until that works, then
# puts a layer on each network for 8 x 8, and so on. New layers are *faded in*: for some steps the output is a mixture
# of the old size, enlarged, and the new one. Digits of 32 x 32, with narrow networks; `grow` names the steps at which
# the size doubles.

# %%
digits = load_mnist()[0]
digits = np.pad(digits, ((0, 0), (2, 2), (2, 2), (0, 0))) if SIDE == 32 else digits[:256, 2:26:3, 2:26:3]
narrow = both(width=WIDE, max_width=4 * WIDE)
small = {"batch_size": 32, "latent_size": 32, "augment": (), "vary_real": (), "quiet": True} | narrow
ends, sheets = [*GROW, GROWN], {}
grown = jaxgan.train(
    "progressive_32",
    digits,
    steps=GROWN,
    grow=GROW,
    fade_steps=GROW[0] // 2,
    grow_batch_sizes=(32,) * len(ends),
    sample_every=GROW[0] // 3 or 1,
    on_look=lambda look: sheets.update({look.step: look.sheet}),
    **small,
)
print({f"step {end}": f"{4 * 2**size} px" for size, end in enumerate(ends)})
parts = [sheet[: sheet.shape[0] // 4] for sheet in (sheets[min(sheets, key=lambda at: abs(at - end))] for end in ends)]
_ = show(
    np.concatenate(parts),
    "Sixteen samples of the same latents at the end of each size: four grey blocks, then blots, digits of 16 px, and "
    "sharp digits of 32 px.",
)
print(grown.diagnosis)

# %% [markdown]
# A latent that was to become a nought is round already at 8 x 8, and stays it. Coarse things are settled while they are
# cheap: the first 300 steps took a second or two.
#
# **MSG-GAN** ([arXiv 1903.06048](https://arxiv.org/abs/1903.06048)) has all sizes at once. The generator shows a
# picture at *each* of its sizes, and the discriminator sees all of them, each joined where it is as small. Gradients
# reach every size from the first step on, without a schedule to tune.

# %%
pyramid = jaxgan.train("msg_32", digits, steps=PYRAMID, sample_every=PYRAMID, **small)
latent = sampling.draw_latents(pyramid.game, LATENT, 12)
made = jax.jit(pyramid.game.generator.apply)(pyramid.state.ema, latent)
real = msg.pyramid(jnp.asarray(digits[:12], jnp.float32) / 127.5 - 1)


def rows(pictures):
    """A row for each size, the small ones enlarged."""
    large = [np.asarray(part).repeat(SIDE // part.shape[1], 1).repeat(SIDE // part.shape[1], 2) for part in pictures]
    return images.grid(images.to_uint8(np.concatenate(large)), 12, least_width=800)


_ = show(rows(real), "Twelve real digits, a column each, at every size from 4 to 32 pixels: what D is shown.")
_ = show(rows(made), "Twelve samples, a column each, at every size from 4 to 32 pixels: each row fits the one above.")

# %% [markdown]
# Nothing forces the rows to show the same digit, but `D` would notice: it sees them together. After so few steps
# neither way is at its end. For larger ones there are `progressive_64`, `msg_64`, and up to 1024 pixels for
# accelerators; the families that came after, StyleGAN2 and R3GAN, are stable enough to train at the full size at once.
#
# ## Exercises
#
# 1. Collapse again with `FAST`, and try `discriminator_updates=2`, `instance_noise=0.2`, `loss="hinge"`, or
#    `**{"discriminator.norm": "spectral"}`. Guess before you run.
# 2. What does the map of `FAST` look like if only *one* of its two changes is made?
# 3. Give the sweep a third axis: `beta1`, 0 and 0.9. Where does the yellow block go?
# 4. `skip_discriminator_below=0.7`, or 1.2, in place of 1. How many modes? What share of its updates does `D` skip
#    (the metric `discriminator/skipped`)?
# 5. Change the circles of `discs` to squares, and make them hard rather than soft. Is the checkerboard still as clear
#    in the measure?
#
# ## What stayed
#
# <details><summary>1. Samples are all alike, and D's loss moves up and down quite normally. What has happened, and what
# would you try first?</summary>
# Mode collapse: the generator runs away from what D has just learned. Lower its rate or its momentum, or let D see
# several samples at once.</details>
#
# <details><summary>2. D tells all fakes from real pictures, and its loss is 0.001. Would you lower G's learning rate?
# </summary>
# No. The generator gets no gradient; a smaller step of nothing is nothing. Make D less sure: R1, noise, a lower rate of
# its own, or skip its updates.</details>
#
# <details><summary>3. Samples have a fine grid on them. Is it the data, the loss, or a layer?</summary>
# A layer: a transposed convolution. Repeat pixels and convolve instead.</details>
