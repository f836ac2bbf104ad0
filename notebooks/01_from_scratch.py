# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A GAN from scratch
#
# Two networks play against each other. The **generator** makes pictures out of noise. The **discriminator** looks at
# pictures and says how likely each one is real. The generator wants to be believed; the discriminator wants to be
# right. If both learn at a like pace, the pictures become good.
#
# You will build both networks, write both losses by hand, do one step of each player, then train them and watch. You
# should know Python, and what a layer and a gradient are. It takes about three minutes on two CPU cores.
#
# **Before you begin.** Think of an answer to each, then unfold.
#
# <details><summary>1. The generator never sees a real picture. How can it learn what one looks like?</summary>
# From the discriminator's gradient: for each pixel of a fake it says in which direction that picture would look more
# real. All that the generator knows of the data has come through the discriminator.</details>
#
# <details><summary>2. What should the discriminator say of a fake when the generator is perfect?</summary>
# One half. Real and fake pictures then have the same distribution, and nobody can do better than guess.</details>
#
# <details><summary>3. Will the two losses fall to zero?</summary>
# No. What one player wins the other loses. Healthy losses move up and down around a balance.</details>

# %%
import functools
import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import jaxgan
from jaxgan.data import load_mnist
from jaxgan.support import images
from jaxgan.support.cells import show

QUICK = "JAXGAN_QUICK" in os.environ  # Only to test that every cell runs.
STEPS = 40 if QUICK else 3000

# %% [markdown]
# ## The data
#
# MNIST: 60,000 handwritten digits of 28 x 28 pixels. A picture is 784 numbers from 0 to 255. The generator's last layer
# will be a hyperbolic tangent, which lies between -1 and 1, so that is where we bring the pixels to.

# %%
pictures, digits = load_mnist()
print(pictures.shape, pictures.dtype, "labels", digits[:10])
real_pictures = pictures.reshape(len(pictures), -1).astype(np.float32) / 127.5 - 1
print(f"after scaling: {real_pictures.shape}, from {real_pictures.min()} to {real_pictures.max()}")
_ = show(images.grid(pictures[:32], 8), "Thirty-two handwritten digits, white on black.")


# %% [markdown]
# ## Two networks
#
# Both are stacks of dense layers. The generator widens 100 numbers of noise to 256, 512, 1024 and at last 784 pixels.
# The discriminator goes the same way back, down to a single number, a **logit**: above zero means "rather real". Its
# sigmoid is a probability, `D(x)`.
#
# Leaky ReLU lets a little of negative values through. A plain ReLU passes no gradient there, and the generator learns
# from nothing else than the discriminator's gradient.


# %%
class Generator(nn.Module):
    @nn.compact
    def __call__(self, noise):
        x = noise
        for units in (256, 512, 1024):
            x = nn.leaky_relu(nn.Dense(units)(x), 0.2)
        return nn.tanh(nn.Dense(784)(x))


class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, picture):
        x = picture
        for units in (1024, 512, 256):
            x = nn.leaky_relu(nn.Dense(units)(x), 0.2)
        return nn.Dense(1)(x)[:, 0]


generator, discriminator = Generator(), Discriminator()
keys = jax.random.split(jax.random.key(0), 3)
g_params = generator.init(keys[0], jnp.zeros((1, 100)))
d_params = discriminator.init(keys[1], jnp.zeros((1, 784)))
for name, params in (("generator", g_params), ("discriminator", d_params)):
    print(f"{name}: {sum(leaf.size for leaf in jax.tree.leaves(params)):,} parameters")

# %% [markdown]
# Before any training the generator makes grey noise, and the discriminator says something between 0.4 and 0.9 of
# whatever it is shown: it knows nothing yet.

# %%
noise = jax.random.normal(keys[2], (64, 100))
fakes = generator.apply(g_params, noise)
_ = show(
    images.grid(images.to_uint8(np.asarray(fakes)).reshape(-1, 28, 28, 1)[:16], 8),
    "Sixteen squares of grey noise: what an untrained generator makes.",
)
for name, batch in (
    ("real pictures", real_pictures[:64]),
    ("fakes", fakes),
    ("pure noise", jax.random.normal(keys[2], (64, 784))),
):
    said = jax.nn.sigmoid(discriminator.apply(d_params, batch))
    print(f"D says of {name:14} {said.mean():.3f} on average, {said.min():.3f} to {said.max():.3f}")

# %% [markdown]
# ## Two losses, by hand
#
# The discriminator does binary classification: it should say 1 of real pictures, 0 of fakes. Its cross-entropy is
#
# $$L_D = -\log D(x_\text{real}) - \log\,(1 - D(x_\text{fake})).$$
#
# The generator wants its fakes to be taken for real. It could maximise the second term. But while the discriminator is
# sure that fakes are fake, that term is flat, and there is nothing to learn from. So it minimises
#
# $$L_G = -\log D(x_\text{fake})$$
#
# instead, which is steep exactly where the generator is bad. This is the *non-saturating* loss of the first paper
# ([arXiv 1406.2661](https://arxiv.org/abs/1406.2661)).
#
# With logits, $-\log \sigma(a)$ is `softplus(-a)`, and that stays exact where a sigmoid would round to 0 or 1.


# %%
def d_loss(real_logits, fake_logits):
    return jnp.mean(jax.nn.softplus(-real_logits)) + jnp.mean(jax.nn.softplus(fake_logits))


def g_loss(fake_logits):
    return jnp.mean(jax.nn.softplus(-fake_logits))


def logit(probability):
    return jnp.log(probability / (1 - probability))


for d_real, d_fake in ((0.9, 0.1), (0.5, 0.5), (0.2, 0.8)):
    real, fake = jnp.array([logit(d_real)]), jnp.array([logit(d_fake)])
    print(f"D(real) = {d_real}, D(fake) = {d_fake}:  D's loss {d_loss(real, fake):.3f}, G's loss {g_loss(fake):.3f}")

# %% [markdown]
# The middle line is the balance: a discriminator that can only guess has the loss $2 \log 2 = 1.386$, and the generator
# then $\log 2 = 0.693$. Keep those two numbers in mind; they will be dashed lines in the plots.
#
# ## One step of the discriminator
#
# Make fakes, differentiate $L_D$ by the **discriminator's** parameters only, and move them a little.

# %%
optimizer = optax.adam(2e-4, b1=0.5)
g_optimizer, d_optimizer = optimizer.init(g_params), optimizer.init(d_params)


def loss_of_discriminator(d_params, real, fakes):
    return d_loss(discriminator.apply(d_params, real), discriminator.apply(d_params, fakes))


real = jnp.asarray(real_pictures[:64])
before, slope = jax.value_and_grad(loss_of_discriminator)(d_params, real, fakes)
updates, d_optimizer = optimizer.update(slope, d_optimizer, d_params)
d_params = optax.apply_updates(d_params, updates)
after = loss_of_discriminator(d_params, real, fakes)
print(f"D's loss on these pictures: {before:.3f} before the step, {after:.3f} after it")

# %% [markdown]
# ## One step of the generator, the discriminator frozen
#
# The loss goes through *both* networks, but only the generator's parameters move. In frameworks with layers that carry
# their parameters one has to "freeze" the discriminator. Here it is simply not what we differentiate by.


# %%
def loss_of_generator(g_params, d_params, noise):
    return g_loss(discriminator.apply(d_params, generator.apply(g_params, noise)))


frozen = jax.tree.map(jnp.copy, d_params)
before, slope = jax.value_and_grad(loss_of_generator)(g_params, d_params, noise)
updates, g_optimizer = optimizer.update(slope, g_optimizer, g_params)
g_params = optax.apply_updates(g_params, updates)
print(f"G's loss: {before:.3f} before the step, {loss_of_generator(g_params, d_params, noise):.3f} after it")
same = jax.tree.map(lambda a, b: bool((a == b).all()), frozen, d_params)
print("the discriminator is as it was:", all(jax.tree.leaves(same)))

# %% [markdown]
# ## Training
#
# A training step is those two, one after the other, on a new batch and new noise. `jax.jit` compiles both into one
# program. Every step needs a random key; folding the step's number into one key gives each its own, and the whole run
# can be repeated exactly.
#
# The figure is drawn anew as training goes on. The 16 pictures come from the **same noise** each time, so you see the
# same samples getting better. Watch three things:
#
# - the losses do not fall; they oscillate, in a healthy game around the dashed lines or a little off them;
# - D(real) stays above D(fake), but does not run away to 1 and 0;
# - the pictures get better all the while, though no loss tells you so.


# %%
def make_step(generator, discriminator):
    """A training step for any two networks: parameters, optimisers and a batch in; new ones and metrics out."""

    @jax.jit
    def step(state, real, key):
        g_params, d_params, g_optimizer, d_optimizer = state
        fakes = generator.apply(g_params, jax.random.normal(jax.random.fold_in(key, 0), (len(real), 100)))

        def of_discriminator(d_params):
            logits = discriminator.apply(d_params, real), discriminator.apply(d_params, fakes)
            return d_loss(*logits), logits

        (d_value, logits), slope = jax.value_and_grad(of_discriminator, has_aux=True)(d_params)
        updates, d_optimizer = optimizer.update(slope, d_optimizer, d_params)
        d_params = optax.apply_updates(d_params, updates)

        def of_generator(g_params):
            noise = jax.random.normal(jax.random.fold_in(key, 1), (len(real), 100))
            return g_loss(discriminator.apply(d_params, generator.apply(g_params, noise)))

        g_value, slope = jax.value_and_grad(of_generator)(g_params)
        updates, g_optimizer = optimizer.update(slope, g_optimizer, g_params)
        g_params = optax.apply_updates(g_params, updates)
        d_real, d_fake = (jax.nn.sigmoid(part).mean() for part in logits)
        return (g_params, d_params, g_optimizer, d_optimizer), (d_value, g_value, d_real, d_fake)

    return step


def begin(generator, discriminator, shape, seed=0):
    keys = jax.random.split(jax.random.key(seed), 2)
    g_params = generator.init(keys[0], jnp.zeros((1, 100)))
    d_params = discriminator.init(keys[1], jnp.zeros((1, *shape)))
    return g_params, d_params, optimizer.init(g_params), optimizer.init(d_params)


# %%
fixed_noise = jax.random.normal(jax.random.key(7), (16, 100))


def sheet(generator, g_params, noise=fixed_noise):
    made = images.to_uint8(np.asarray(generator.apply(g_params, noise)))
    return images.grid(made.reshape(-1, 28, 28, 1), 4, least_width=240)


def smooth(values, window):
    return np.convolve(values, np.ones(window) / window, "valid")


def draw(step, curves, picture):
    """Losses, probabilities and the samples of the fixed noise, side by side."""
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    losses, says, samples = figure.subplots(1, 3, width_ratios=(1.2, 1.2, 1))
    window = max(1, len(curves) // 40)
    for axes, columns, names in ((losses, (0, 1), ("D's loss", "G's loss")), (says, (2, 3), ("D(real)", "D(fake)"))):
        for column, name, colour in zip(columns, names, ("tab:blue", "tab:orange"), strict=True):
            values = np.array([row[column] for row in curves])
            axes.plot(values, color=colour, alpha=0.2, linewidth=0.8)
            axes.plot(np.arange(window - 1, len(values)), smooth(values, window), color=colour, label=name)
        axes.set_xlabel("step")
        axes.legend(loc="upper right", fontsize=8)
    for level, colour in ((2 * np.log(2), "tab:blue"), (np.log(2), "tab:orange")):
        losses.axhline(level, color=colour, linestyle="--", linewidth=0.8)
    losses.set_ylim(0, 4)
    says.axhline(0.5, color="grey", linestyle="--", linewidth=0.8)
    says.set_ylim(0, 1)
    samples.imshow(picture, cmap="gray")
    samples.set_axis_off()
    samples.set_title(f"step {step}", fontsize=9)
    return figure


def train(generator, discriminator, data, steps, batch=64, seed=0, looks=12):
    """Trains, draws as it goes, and returns the state, the curves and a sheet of samples of each look."""
    step, state = make_step(generator, discriminator), begin(generator, discriminator, data.shape[1:], seed)
    random, curves, sheets, place = np.random.default_rng(seed), [], [], None
    for number in range(1, steps + 1):
        real = data[random.integers(0, len(data), batch)]
        state, metrics = step(state, real, jax.random.fold_in(jax.random.key(seed), number))
        curves.append([float(value) for value in metrics])
        if number % max(1, steps // looks) == 0:
            sheets.append(sheet(generator, state[0]))
            alt = f"Losses, what D says, and 16 samples after {number} steps."
            place = show(draw(number, curves, sheets[-1][..., 0]), alt, place)
    return state, curves, sheets


state, curves, sheets = train(generator, discriminator, real_pictures, STEPS)

# %% [markdown]
# The same sixteen latents, from the first look to the last:

# %%
chosen = [sheets[index] for index in np.linspace(0, len(sheets) - 1, 6).round().astype(int)]
_ = show(np.concatenate(chosen, 1), "Six sheets of the same sixteen samples, from noise to digits, left to right.")

# %% [markdown]
# ## Real beside fake
#
# Left real, right generated. At a glance they look alike. Look closer: strokes that end nowhere, speckles, digits
# between two digits. A discriminator sees those too, which is why it still tells most of them apart.

# %%
many = generator.apply(state[0], jax.random.normal(jax.random.key(9), (36, 100)))
left = images.grid(pictures[100:136], 6, least_width=260)
right = images.grid(images.to_uint8(np.asarray(many)).reshape(-1, 28, 28, 1), 6, least_width=260)
gap = np.full((left.shape[0], 24, 1), 255, np.uint8)
_ = show(
    np.concatenate([left, gap, right], 1), "Thirty-six real digits on the left, thirty-six generated ones on the right."
)
for name, batch in (("real", real_pictures[100:136]), ("fake", many)):
    print(f"D says of these {name} ones: {jax.nn.sigmoid(discriminator.apply(state[1], batch)).mean():.2f}")

# %% [markdown]
# ## One digit only
#
# A narrower task is easier: with threes alone the generator needs far fewer steps. It is the quickest way to see
# whether a new idea trains at all.

# %%
threes = real_pictures[digits == 3]
print(f"{len(threes)} threes")
threes_state, _, _ = train(generator, discriminator, threes, STEPS // 3, looks=4)

# %% [markdown]
# ## How this differs from a variational autoencoder's decoder
#
# A VAE's decoder also makes pictures of noise, and it has the same layers as our generator. What differs is who
# judges. A decoder is told, pixel by pixel, how far it is from one given picture; where several pictures would do, it
# is best off with their mean, which is blurred. A generator is told by a learned judge whether the whole picture
# could be real, and a blurred one could not. The price: no encoder comes with it, nothing says that all of the data
# are covered, and the game may lose its balance.
#
# ## Convolutions in place of dense layers
#
# A dense layer does not know which pixels are neighbours. Convolutions do, and share their weights over the whole
# picture. The loop stays as it is; only the two networks change. Each stage of the generator doubles the side, each
# of the discriminator halves it.


# %%
class ConvGenerator(nn.Module):
    @nn.compact
    def __call__(self, noise):
        x = nn.leaky_relu(nn.Dense(7 * 7 * 64)(noise), 0.2).reshape(-1, 7, 7, 64)
        x = nn.leaky_relu(nn.ConvTranspose(32, (4, 4), (2, 2))(x), 0.2)
        return nn.tanh(nn.ConvTranspose(1, (4, 4), (2, 2))(x))


class ConvDiscriminator(nn.Module):
    @nn.compact
    def __call__(self, picture):
        x = nn.leaky_relu(nn.Conv(32, (4, 4), (2, 2))(picture), 0.2)
        x = nn.leaky_relu(nn.Conv(64, (4, 4), (2, 2))(x), 0.2)
        return nn.Dense(1)(x.reshape(len(x), -1))[:, 0]


square = real_pictures.reshape(-1, 28, 28, 1)
count = functools.partial(jax.tree.reduce, lambda total, leaf: total + leaf.size, initializer=0)
conv_state, _, _ = train(ConvGenerator(), ConvDiscriminator(), square, STEPS // 3, looks=4)
for name, (g_params, d_params, *_) in (("convolutions", conv_state), ("dense", state)):
    print(f"{name}: {count(g_params):,} and {count(d_params):,} parameters")

# %% [markdown]
# ## The same with jaxgan, in three lines
#
# `jaxgan.train` has the same two steps inside, compiled many at a time, with batch normalisation in its convolutional
# pair, an average of the generator's parameters (which is what it samples from), checkpoints, and a diagnosis in words.

# %%
run = jaxgan.train("mnist_dcgan", steps=20 if QUICK else 600)
_ = show(run.sample(36), "Thirty-six digits made by jaxgan's convolutional pair.")
_ = show(run.losses(), "Losses, D(real) and D(fake) of that run.")

# %% [markdown]
# It stopped at the step you asked for. Ask for more and it goes on from there, exactly as if it had never stopped;
# interrupting the kernel does no harm either. `run.save("runs/mine")` keeps it.

# %%
run.train(steps=30 if QUICK else 900)
_ = show(run.sample(36), "Thirty-six digits after more steps.")
print(run.diagnosis)

# %% [markdown]
# ## Exercises
#
# 1. Give the generator the *saturating* loss, `-mean(softplus(fake_logits))`. What happens in the first hundred
#    steps, and why?
# 2. Leave out the discriminator's step in nine of ten steps. Then the generator's. Which is worse?
# 3. Make the noise two numbers long. Draw samples on a grid of them. What lies between two digits?
# 4. Train on ones and sevens. Do you get as many of each? Count with D, or by eye.
#
# ## What stayed
#
# <details><summary>1. Both losses have been flat for a thousand steps. Has training stopped?</summary>
# Not necessarily: each player holds the other in check while both get better. Look at the samples.</details>
#
# <details><summary>2. D's loss is near 0, and D(fake) near 0. Who has won, and what does the generator learn?</summary>
# The discriminator has won. Where it is so sure, its slope is of little use, and the generator learns next to nothing.
# </details>
#
# <details><summary>3. Why are new fakes made for the generator's step, and the discriminator's parameters left alone?
# </summary>The step asks what change of the *generator* would have fooled the discriminator as it is now. If the
# discriminator moved along that gradient, too, it would learn to call fakes real.</details>
