# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Style, step by step
#
# A network that has learned to name what is in photographs can also paint. It sees a picture at many depths: near its
# input strokes and colours, far from it objects and where they are. Ask for a new picture that agrees with one
# picture in the far layers and with another in its textures, and you have style transfer ([Gatys, Ecker and Bethge,
# arXiv 1508.06576](https://arxiv.org/abs/1508.06576)).
#
# Nothing is trained here. The network stays as it is; what is optimised are the **pixels**. You will look at features,
# rebuild a picture from them, see what a Gram matrix keeps and what it forgets, and put the parts together.
#
# **Before you begin.**
#
# <details><summary>1. What is differentiated by what in style transfer?</summary>
# The loss by the pixels of the picture that is being made. The network's weights are constants.</details>
#
# <details><summary>2. A layer's features are [height, width, channels]. What is left of a picture if you only keep
# which channels are active together, averaged over all positions?</summary>Its texture: colours, strokes, repeated
# forms. Where things were is gone.</details>
#
# <details><summary>3. Why not compare pixels with the content picture instead of features?</summary>
# Pixels would hold the colours and strokes of the photograph in place, and those are just what shall change.</details>

# %%
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import jaxgan
from jaxgan.style import losses, pictures, transfer, weights
from jaxgan.support.cells import show

QUICK = "JAXGAN_QUICK" in os.environ  # Only to test that every cell runs.
SIZE, STEPS = (48, 3) if QUICK else (192, 100)
CONTENT = Path(jaxgan.__path__[0]) / "support/assets/style/chelsea.jpg"  # To use your own,
STYLE = Path(jaxgan.__path__[0]) / "support/assets/style/swirls.jpg"  # put their paths here.

content, style = (jnp.asarray(pictures.read(path, SIZE)[0]) for path in (CONTENT, STYLE))
network = weights.load()


def row(images, titles, alt):
    """Pictures side by side, with titles."""
    figure = Figure(figsize=(2.6 * len(images), 2.6), layout="constrained")
    for axes, image, title in zip(np.atleast_1d(figure.subplots(1, len(images))), images, titles, strict=True):
        image = np.asarray(image)
        axes.imshow(image, cmap="viridis" if image.ndim == 2 else None)
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()
    return show(figure, alt)


_ = row([content, style], ["content", "style"], "The content picture, a cat, and the style picture, painted swirls.")

# %% [markdown]
# ## What the network sees
#
# VGG16 is thirteen convolutions of 3 x 3 pixels, in five blocks; between blocks the picture is halved. `relu3_1` is the
# first layer of the third block. Below are the six most active channels of four layers: first edges and colours at full
# size, then patterns, then parts of things on a coarse grid.

# %%
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_2")
features = network.features(content[None], LAYERS)
for name in LAYERS:
    maps = np.asarray(features[name][0], np.float32)
    strongest = np.argsort(maps.mean((0, 1)))[::-1][:6]
    titles = [f"{name}, channel {channel}" for channel in strongest]
    _ = row([maps[..., channel] for channel in strongest], titles, f"Six feature maps of {name}: bright where active.")
    print(f"{name}: {maps.shape[0]} x {maps.shape[1]} positions, {maps.shape[2]} channels")

# %% [markdown]
# ## Content alone
#
# Begin with noise and ask only that the features of *one* layer become those of the cat. What comes back is what that
# layer still knows. An early layer knows every pixel; a late one knows what is there and roughly where, but no longer
# the exact colours and hairs. That is the layer to take content from.
#
# `jaxgan.style.transfer.stylize` is the loop: it compiles the iterations into one program. A weight of 0 leaves a
# part out.

# %%
ADAM = transfer.optimizer("adam", STEPS)
BASIC = {  # As in the first paper: Gram matrices, all layers alike, zeros around the picture, a single size.
    "style_weight": 20.0,
    "style_loss": losses.GRAM,
    "style_layers": tuple((f"relu{block}_1", 1.0) for block in range(1, 6)),
    "padding": "zero",
    "stages": ((1.0, STEPS),),
    "optimizer": ADAM,
}


def paint(style=style, **options):
    chosen = transfer.Options(**(BASIC | options))
    return transfer.stylize(network, content, [style], chosen, jax.random.key(0))


found = []
for layer in ("relu1_2", "relu3_1", "relu5_1"):
    picture, _ = paint(init="noise", style_weight=0.0, tv_weight=0.0, content_layers=((layer, 1.0),))
    found.append(picture)
_ = row(
    [content, *found],
    ["the content", "from relu1_2", "from relu3_1", "from relu5_1"],
    "The cat, and what three layers bring back of it from noise: nearly all, most with odd colours, hardly anything.",
)

# %% [markdown]
# ## Gram matrices
#
# Take a layer's features as a list of positions, each a vector with a number for each channel. The Gram matrix is the
# mean of their outer products: entry (a, b) says how strongly channels a and b are active *together*. The list may be
# shuffled without changing it, so it cannot know where anything is.
#
# Two parts of the style picture have much the same matrix. The cat has another. To see it, channels are sorted alike in
# all three.

# %%
half = style.shape[1] // 2
parts = {"style, left": style[:, :half], "style, right": style[:, half:], "content": content}


def gram(picture, layer="relu2_1"):
    found = network.features(picture[None], [layer])[layer][0]
    return np.asarray(losses.gram(found.reshape(-1, found.shape[-1])))


grams = {name: gram(picture) for name, picture in parts.items()}
order = np.argsort(np.diag(grams["style, left"]))[::-1][:40]
shown = [np.log1p(matrix[np.ix_(order, order)]) for matrix in grams.values()]
_ = row(shown, list(grams), "Three Gram matrices: those of the two halves of the style are alike, the cat's is not.")
left = grams["style, left"]
for name, matrix in grams.items():
    print(f"{name:13} distance from the left half: {np.linalg.norm(matrix - left) / np.linalg.norm(left):.2f}")

# %% [markdown]
# ## Style alone: texture
#
# From noise, with the Gram matrices of one layer more at a time. With the first layer alone only colours come; each
# deeper layer adds larger forms. And nothing is where it was in the style picture.

# %%
found = []
for depth in (1, 3, 5):
    layers = tuple((f"relu{block}_1", 1.0) for block in range(1, depth + 1))
    picture, _ = paint(init="noise", content_weight=0.0, tv_weight=0.0, style_layers=layers)
    found.append(picture)
_ = row(
    [style, *found],
    ["the style", "one layer", "three layers", "five layers"],
    "The style picture, and textures from noise with one, three and five layers: speckle, strokes, larger swirls.",
)

# %% [markdown]
# ## The sum
#
# Content and style pull at the same pixels. Their weights say who wins. Each layer's loss is divided by what a picture
# without any features would get, so that 1 means "as bad as nothing" and weights keep their meaning for any picture.

# %%
found, history = [], {}
for weight in (1.0, 20.0, 400.0):
    picture, history[weight] = paint(style_weight=weight)
    found.append(picture)
_ = row(
    found,
    [f"style weight {weight:g}" for weight in history],
    "The cat with three style weights: hardly changed, painted, and all but lost in swirls.",
)

# %% [markdown]
# ## Variation
#
# Nothing so far says that neighbouring pixels should be alike, and the network does not mind fine noise much. The total
# variation loss does: the mean squared difference of neighbours. Too little leaves speckles, too much blurs.

# %%
found = [paint(tv_weight=weight)[0] for weight in (0.0, 10.0, 1000.0)]
middle = slice(SIZE // 4, SIZE // 2)
_ = row(
    [picture[middle, middle] for picture in found],
    ["without variation loss", "weight 10", "weight 1000"],
    "The same enlarged part of the cat three times: speckled, smoother, blurred.",
)

# %% [markdown]
# ## Three ways down
#
# Gradient descent takes steps along the slope. Adam scales each pixel's step by how large its slopes have been. L-BFGS
# estimates how the slope changes, and searches along the line; each of its iterations may look at the network more than
# once. All three start from the same noise, from
# which the way to the cat is long: that is why `init` is the content by default.

# %%
curves, found = {}, []
for name in ("sgd", "adam", "lbfgs"):
    picture, losses_of = paint(init="noise", optimizer=transfer.optimizer(name, STEPS), average=0.0)
    curves[name], _ = np.asarray(losses_of["total"]), found.append(picture)
figure = Figure(figsize=(6, 3.2), layout="constrained")
axes = figure.subplots()
names = {"sgd": "gradient descent", "adam": "Adam", "lbfgs": "L-BFGS"}
for (name, curve), line in zip(curves.items(), ("-", "--", ":"), strict=True):
    axes.semilogy(curve, line, label=names[name])
axes.set_xlabel("iteration")
axes.set_ylabel("loss")
axes.legend()
_ = show(figure, "The loss over iterations of gradient descent, Adam and L-BFGS, on a logarithmic scale.")
_ = row(
    found,
    [f"{names[name]}: {curve[-1]:.2f}" for name, curve in curves.items()],
    "What each of the three has made of the noise: swirls, in which the cat is not to be seen yet.",
)

# %% [markdown]
# ## The optimisation as a strip
#
# `on_chunk` is called now and then with the state of the optimisation.

# %%
strip = []
options = transfer.Options(**(BASIC | {"init": "noise"}))
transfer.stylize(
    network,
    content,
    [style],
    options,
    jax.random.key(0),
    chunk=max(1, STEPS // 6),
    on_chunk=lambda state, history: strip.append(np.asarray(transfer.picture(state))),
)
chosen = strip[:6]
_ = row(
    chosen,
    [f"after {max(1, STEPS // 6) * (index + 1)}" for index in range(len(chosen))],
    "Six steps from noise: strokes of the style come first; the cat would need more iterations.",
)

# %% [markdown]
# ## What jaxgan does by default
#
# The first paper's recipe leaves coloured speckles on faces. The default compares the *distributions* of features by
# their Wasserstein distance, gives style less weight and early layers more of it, continues the picture beyond its
# edges instead of a dark frame, and goes through several sizes from small to large where there is room. The same from
# a shell:
#
#     jaxgan style cat.jpg swirls.jpg --out painted.png

# %%
default, _ = transfer.stylize(
    network, content, [style], transfer.Options(stages=((1.0, STEPS),), optimizer=ADAM), jax.random.key(0)
)
_ = row(
    [paint()[0], default],
    ["as in the first paper", "jaxgan's default"],
    "The cat by the first paper's recipe, with speckles, and by the default one, with clean strokes.",
)

# %% [markdown]
# ## Exercises
#
# 1. Put two pictures of your own into `CONTENT` and `STYLE`, above.
# 2. Give `paint` a style twice as large (`transfer.resize(style, (2 * SIZE, 2 * SIZE))`). What happens to the strokes?
# 3. Take content from `relu2_2`. What does the style have left to change?
# 4. Two styles: call `transfer.stylize` with `[style, other]`, and `blend=jnp.array([0.7, 0.3])` in its options.
#
# ## What stayed
#
# <details><summary>1. Why is content taken from one late layer and style from many?</summary>
# The late layer knows what is there and leaves the surface free. Style lives at all sizes: colours in the first layers,
# large forms in the last.</details>
#
# <details><summary>2. Two different pictures have the same Gram matrices. Is that possible?</summary>
# Yes: any shuffling of a layer's positions keeps its matrix. That is why texture from noise looks like the style
# everywhere and nowhere exactly.</details>
#
# <details><summary>3. L-BFGS reaches a lower loss in as many iterations. Why might Adam still be the better choice?
# </summary>
# An iteration of L-BFGS may cost several looks at the network, and a lower loss is not always a better
# picture.</details>
