# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Inside a StyleGAN2
#
# A trained generator comes with jaxgan: a StyleGAN2 of 64 x 64 pixels that has learned from 3,510 emoji on one core of
# a CPU. Here you take it apart. You will draw from it, pull its samples towards the average, swap the coarse layers of
# one picture with those of another, find directions that mean something, look for a picture of your own inside it, and
# teach it something new.
#
# You should know what a generator is ([A GAN from scratch](01_from_scratch.ipynb)). Nothing here takes longer than a
# few minutes on two CPU cores.
#
# **Before you begin.** Think of an answer to each, then unfold.
#
# <details><summary>1. A plain generator turns a latent into a picture layer by layer. What is hard about changing only
# the colours of its picture?</summary> The latent enters once, at the bottom, and everything is made of it. Whatever
# you change in it passes through all layers, so shape and colour move together.</details>
#
# <details><summary>2. Latents are normal numbers, all directions alike. Are faces and flags spread like that, too?
# </summary> No. Some kinds are common, some rare, some mixtures do not exist. A generator has to bend the round cloud
# of latents into that shape somewhere. StyleGAN gives it a network of its own for this.</details>
#
# <details><summary>3. You want the best-looking samples and the most varied ones. Can you have both?</summary> Rarely.
# What is near the average was trained on most and looks best; variety lies further out.</details>

# %%
import itertools
import os
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw

import jaxgan
from jaxgan.evaluate import lpips
from jaxgan.latent import directions, mix, project, sampling
from jaxgan.models import stylegan2
from jaxgan.support import images
from jaxgan.support.cells import show

QUICK = "JAXGAN_QUICK" in os.environ  # Only to test that every cell runs.
SEARCH, FINE_TUNE = (4, 2) if QUICK else (300, 300)

run = jaxgan.Run("emoji")  # Or the directory of a StyleGAN2 of your own.
game, variables = run.game, run.state.ema  # The networks, and the averaged generator's parameters.
_ = show(run.sample(64), "64 samples of the generator that ships, each of another latent.")

# %% [markdown]
# Each picture is made of 128 random numbers. The network has never seen food, plants or animals: they were kept back,
# for the end of this notebook.
#
# ## Two networks in one
#
# The generator has two halves. The **mapping** network turns the latent, `z`, into a **style**, `w`. The **synthesis**
# network begins with the same 4 x 4 block of learned numbers for every picture, and at each of its layers the style
# sets how strongly each channel counts. So the picture is not painted from the latent. It is painted from nothing, and
# the style directs the brush at every size, from 4 x 4 up to 64 x 64 ([Karras and others, arXiv
# 1912.04958](https://arxiv.org/abs/1912.04958)).

# %%
latent = sampling.latents_of(game, range(8))  # As `jaxgan sample emoji --seeds 0-7` draws them.
styles = mix.styles(game, variables, latent)
print(
    f"latents {latent.shape} -> styles {styles.shape}: one of {styles.shape[2]} numbers for each of "
    f"{styles.shape[1]} layers, at first all alike: {bool((styles[:, :1] == styles).all())}"
)


def drawn(styles):
    """The pictures of styles [N, layers, 128], uint8 [N, 64, 64, 3]."""
    return sampling.pictures(mix.of_styles(game), variables, styles)


def sheet(pictures, columns, alt):
    """Pictures in rows."""
    return show(images.grid(np.asarray(pictures), columns), alt)


_ = sheet(drawn(styles), 8, "The samples of seeds 0 to 7.")

# %% [markdown]
# ## Truncation: towards the average
#
# Styles have an average, and the picture of it is what the network thinks an emoji is. Draw every style towards it by a
# factor psi, and pictures become more typical, cleaner and more alike. At psi 0 all of them are the average; beyond 1
# they leave what training has seen. That is the trade of the third question, as one number.

# %%
average = sampling.average_style(variables, None)
PSI = (0, 0.25, 0.5, 0.75, 1, 1.5)
rows = [drawn(stylegan2.truncate(styles[:6], average, jnp.float32(psi))) for psi in PSI]
_ = sheet(
    np.stack(rows, 1).reshape(-1, 64, 64, 3),
    len(PSI),
    "Six samples, a row each, at psi 0, 0.25, 0.5, 0.75, 1 and "
    "1.5 from left to right: from one and the same picture to more and more their own.",
)

# %% [markdown]
# In a notebook that runs you can move psi yourself. (The picture above stands in for it where nothing runs.)

# %%
try:
    import ipywidgets
except ImportError:  # pip install ipywidgets
    ipywidgets = None


def sliders(draw, **ranges):
    """A slider for each range, and what `draw` returns of their values beneath."""
    if ipywidgets is not None:
        chosen = {
            name: ipywidgets.FloatSlider(value=value, min=low, max=high, step=0.05, continuous_update=False)
            for name, (low, value, high) in ranges.items()
        }
        place = draw(**{name: slider.value for name, slider in chosen.items()})
        for slider in chosen.values():
            slider.observe(lambda _: draw(place, **{name: s.value for name, s in chosen.items()}), "value")
        ipywidgets.widgets.interaction.display(ipywidgets.VBox(list(chosen.values())))


def truncated(place=None, psi=0.7):
    made = drawn(stylegan2.truncate(styles, average, jnp.float32(psi)))
    return show(images.grid(made, 8), f"Seeds 0 to 7 at the psi of the slider, at first {psi}.", place)


sliders(truncated, psi=(0.0, 0.7, 1.5))

# %% [markdown]
# ## Mixing: whose shape, whose colours
#
# Every layer takes a style, and nobody says it has to be the same one in all of them. Give the coarse layers, up to 8 x
# 8, the style of one picture and the finer ones that of another. Each picture in the table has the pose and outline of
# the one at the top of its column, the colours and strokes of the one at the left of its row.

# %%
LAYERS = styles.shape[1]
CROSSOVER = LAYERS // 3
more = mix.styles(game, variables, sampling.latents_of(game, range(20, 26)))
table = mix.grid(game, variables, styles[:6], more[:5], CROSSOVER)
_ = sheet(
    table.reshape(-1, *table.shape[2:]),
    7,
    f"A table of mixtures: {CROSSOVER} coarse layers of {LAYERS} from the "
    "pictures along the top, the others from those down the side.",
)

# %% [markdown]
# Where the crossover lies decides what passes: few coarse layers, and only the rough outline does; nearly all of them,
# and only the colours come from the other.

# %%
pair = [drawn(mix.cross(styles[:1], more[:1], crossover)) for crossover in range(LAYERS + 1)]
_ = sheet(
    np.concatenate(pair),
    LAYERS + 1,
    "One pair at every crossover, from all layers of one picture at the left to all layers of the other at the right.",
)

# %% [markdown]
# ## Directions
#
# Which way should one go in the space of styles to see something change? The layers read the style through matrices.
# The directions in which those matrices stretch most are where a small step changes most: the eigenvectors of `A^T A`.
# It takes no training and no labels ([Shen and Zhou, arXiv 2007.06600](https://arxiv.org/abs/2007.06600)).

# %%
matrix = directions.weights(game, variables["params"])
found, strength = directions.directions(matrix, 6)
print("how much each changes:", np.round(strength / strength[0], 2))
_, spread = mix.statistics(game, variables, jax.random.key(0))
reach = 3 * float(spread) / matrix.shape[0] ** 0.5
moved = drawn(directions.sliders(styles[3], found, 7, reach))
_ = sheet(moved, 7, "Six directions, a row each, through the sample of seed 3, which is in the middle.")

# %% [markdown]
# Directions have no names. You give them one by looking: this one opens the mouth, that one makes it darker. Some move
# several things at once; that is what *entangled* means.

# %%


def pushed(place=None, **amounts):
    shift = sum(amount * reach * found[index] for index, amount in enumerate(amounts.values()))
    return show(drawn(styles[3][None] + shift)[0], "The sample of seed 3, moved along three directions.", place)


sliders(pushed, first=(-2, 0.0, 2), second=(-2, 0.0, 2), third=(-2, 0.0, 2))

# %% [markdown]
# ## A walk
#
# Between two styles lie other styles, and their pictures. If a generator had learned its pictures by heart, a walk
# would jump from one to the next. This one changes shape on the way.

# %%
steps = jnp.linspace(0, 1, 10)[:, None, None]
walk = jnp.concatenate([(1 - steps) * a + steps * b for a, b in itertools.pairwise(styles[:4])])
_ = sheet(drawn(walk), 10, "Three walks, a row each: from seed 0 to 1, from 1 to 2, from 2 to 3.")

# %% [markdown]
# ## A picture of your own
#
# Is *your* picture in there? Look for the style whose picture comes nearest to it. Nearest by what? Not pixel by pixel
# alone: by LPIPS, which compares features of a network, as people compare pictures. The search is gradient descent on
# the style, the generator frozen. Below, a face drawn with three ellipses and an arc; put a path in its place.

# %%
OWN = None  # "me.jpg"
if OWN:
    face = Image.open(OWN).convert("RGB").resize((64, 64))
else:
    large = Image.new("RGB", (512, 512), "white")
    pen = ImageDraw.Draw(large)
    pen.ellipse((30, 30, 482, 482), fill="#ffcc4d")
    pen.ellipse((140, 150, 210, 250), fill="#664500")
    pen.ellipse((302, 150, 372, 250), fill="#664500")
    pen.arc((130, 180, 382, 400), 20, 160, fill="#664500", width=28)
    face = large.resize((64, 64), Image.Resampling.LANCZOS)
target = jnp.asarray(face, jnp.float32) / 127.5 - 1
result = project.project(
    game, variables, lpips.load(), target, jax.random.key(0), steps=SEARCH, every=max(1, SEARCH // 6)
)
way = images.to_uint8(np.asarray(result.pictures))
_ = sheet(
    [*way, np.asarray(face)],
    len(way) + 1,
    "The search: from the average at the left to what was found, and the picture that was looked for at the right.",
)
print(f"LPIPS {float(result.distance):.3f} (0 is the same, unrelated pictures have .5 and more)")

# %% [markdown]
# What was found is a style, so everything above works on it: it can be mixed, moved along directions, walked from.

# %%
own = result.latent
_ = sheet(
    drawn(directions.sliders(own, found[:3], 7, reach)),
    7,
    "The face that was found, moved along the three strongest directions, a row each.",
)

# %% [markdown]
# ## Teach it something new
#
# It has never seen an animal. Training from nothing takes hours; a generator that already draws outlines, shading and
# eyes needs minutes. `start="emoji"` begins a run with its networks, the discriminator too. Watch the same latents
# become something else.

# %%
ANIMALS = Path("animals.zip")
sheets = []
with tempfile.TemporaryDirectory() as folder:
    tuned = jaxgan.train(
        "emoji",
        str(ANIMALS),
        start="emoji",
        steps=FINE_TUNE,
        quick_steps=FINE_TUNE,
        sample_every=max(1, FINE_TUNE // 3),
        out=Path(folder) / "animals",
        on_look=lambda look: sheets.append(look.sheet[: 2 * 64 + 6]),
        quiet=True,
        **({"batch_size": 4, "path_length": 0} if QUICK else {}),
    )
    after = tuned.sample(32)
_ = show(np.concatenate(sheets), "Two rows of the same latents, three times while it trains on animals.")
_ = show(after, "Samples after fine-tuning.")

# %% [markdown]
# With so few pictures it will soon learn them by heart. The discriminator tells: when it is sure of every training
# picture and unsure of animals it has not seen, stop. `jaxgan train emoji --data FOLDER --from emoji` does the same
# from a shell, with checkpoints, and `--discriminator.freeze 3` keeps the discriminator's first layers as they are
# (FreezeD).
#
# ## Exercises
#
# 1. Find a direction that opens mouths, and apply it to `own`.
# 2. Mix `own` with `styles[5]` at every crossover.
# 3. Truncate only the coarse layers (`--truncation-cutoff` of `jaxgan sample`). What stays varied?
# 4. Fine-tune on a folder of your own pictures: replace `ANIMALS`.
#
# ## What stayed
#
# <details><summary>1. Why is a search in styles closer to a picture than one in latents?</summary> Styles fill a wider
# space: any style can be tried, also one that no latent maps to. With a style of its own for each layer (`plus=True`)
# it comes closer still, and further from what the generator was trained to draw.</details>
#
# <details><summary>2. Mixing works because training did something unusual. What?</summary> In training, a part of the
# pictures was made of two styles, switched at a random layer. So no layer could rely on another having the same
# style.</details>
#
# <details><summary>3. Why does fine-tuning keep the discriminator?</summary> A fresh discriminator knows nothing, and
# its first gradients would tear the good generator apart. The old one already knows what a clean outline is.</details>
