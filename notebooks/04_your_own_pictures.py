# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own pictures
#
# Published GANs learn from tens of thousands of pictures. You have a few hundred, of several sizes and kinds, and some
# of the files are broken. Here you go the whole way with them: look at what is there, train with what makes small sets
# possible, and find out afterwards whether the samples are any good, and whether they are yours or only copies.
#
# The pictures are 288 emoji heads. Put your own in their place by one line. You should know what the two players of a
# GAN do ([A GAN from scratch](01_from_scratch.ipynb)). It takes about six minutes on two CPU cores.
#
# **Before you begin.** Think of an answer to each, then unfold.
#
# <details><summary>1. There are 288 real pictures. What is the easiest way for the discriminator to tell real from
# fake?</summary>
# To learn the 288 by heart. Then everything else is fake, however good it is, and the generator learns nothing more.
# </details>
#
# <details><summary>2. You show the discriminator real pictures shifted and in other colours, so that there seem to be
# more. What will the generator make?</summary>
# Shifted pictures in other colours. Unless its own are treated just the same before they are judged; then what it makes
# may stay straight.</details>
#
# <details><summary>3. All samples look perfect. Why is that no proof of a good generator?</summary>
# A generator that stores the training pictures makes perfect ones, too. So does one that knows a single good
# picture.</details>

# %%
import io
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

import jax
import numpy as np
from IPython.display import Video, display
from matplotlib.figure import Figure
from PIL import Image

import jaxgan
from jaxgan import config
from jaxgan.data import making, records
from jaxgan.data.folder import Settings
from jaxgan.evaluate import features, neighbours, report
from jaxgan.latent import sampling
from jaxgan.run import directory, preview
from jaxgan.support import images
from jaxgan.support.cells import show

QUICK = "JAXGAN_QUICK" in os.environ  # Only to test that every cell runs.
SIZE, STEPS, LOOKS = (16, 4, 2) if QUICK else (64, 4000, 400)
work = Path(tempfile.mkdtemp())

# %% [markdown]
# ## The pictures
#
# They lie beside this notebook, in an archive that is never unpacked. **To take your own**, upload a `.zip` (or
# `.tar.gz`) with your notebook's file browser and put its name here, or the path of a folder. On Colab:
#
#     from google.colab import files
#     PICTURES = Path(next(iter(files.upload())))
#
# Any format and shape will do: PNG, JPEG, WebP, GIF, TIFF, HEIC, grey or with transparency, on its side as a phone
# leaves it. A few hundred are enough to see something, a few thousand are better.

# %%
PICTURES = Path("heads.zip")
with zipfile.ZipFile(PICTURES) as archive:
    print(len(archive.namelist()), "files; one of them says whose they are:\n")
    print(archive.read("ATTRIBUTION.txt").decode())  # With pictures of your own leave this line out.

# %% [markdown]
# ## What is skipped, and why
#
# Real collections have broken files in them. These have not, so let us spoil a copy: a file that was cut short, one
# that is as small as a thumbnail, and one that is there twice.

# %%
mine = work / "mine.zip"
shutil.copy(PICTURES, mine)
with zipfile.ZipFile(mine, "a") as archive:
    some = next(name for name in archive.namelist() if name.endswith(".png"))
    content = archive.read(some)
    thumbnail = io.BytesIO()
    Image.open(io.BytesIO(content)).resize((12, 12)).save(thumbnail, "png")
    archive.writestr("odd/cut_short.png", content[: len(content) // 2])
    archive.writestr("odd/thumbnail.png", thumbnail.getvalue())
    archive.writestr("odd/twice.png", content)

# %% [markdown]
# `making.make` (in a shell `jaxgan data make`) converts all of them once to squares of one size, in as many processes
# as there are cores, and keeps lists of what it left out. `min_side` leaves out what is smaller. `jaxgan.train` does
# the same by itself when it is given a folder or an archive; doing it first lets you look.

# %%
made = making.make(mine, work / "set", Settings(size=SIZE, min_side=16))
print(f"{made.count} pictures; {made.skipped} files skipped; {made.duplicates} the same as another\n")
for name in ("skipped.txt", "duplicates.txt"):
    print(f"{name}:\n{(work / 'set' / name).read_text()}")

# %% [markdown]
# Nothing is lost silently: each file that is not in the set has its reason. A duplicate is only reported, since there
# are good reasons to have one twice. Here are some of what is left; transparent parts have become white.

# %%
pictures = records.PictureSet(work / "set")
real = pictures.read(np.arange(len(pictures)))["image"]
chosen = np.linspace(0, len(real) - 1, 40).astype(int)
_ = show(
    images.grid(real[chosen], 10), "Forty of the pictures: heads of all skin and hair colours, and yellow smileys."
)

# %% [markdown]
# ## Augmentation
#
# With so few pictures the discriminator would learn them by heart within minutes. The remedy is to change whatever it
# looks at, at random, each time: colours, position, a square cut out. It never sees a picture twice.
#
# Two things make that work ([DiffAugment, arXiv 2006.10738](https://arxiv.org/abs/2006.10738)). **Fakes are changed
# just the same**, so that the changes are no sign of anything, and the generator has no reason to make them itself. And
# the changes are **differentiable**, so that the gradient reaches the generator through them.
#
# The sheet has eight real pictures in its first row, and below each of them three times how the discriminator sees it.
# In a shell: `jaxgan data preview own_images --data mine.zip`.

# %%
base = config.replaced(config.load("own_images")[1], {"data": str(work / "set"), "size": SIZE})
_ = show(
    preview.sheet(base, columns=8, rows=3),
    "Eight heads, and each three times below: brighter or darker, paler, shifted with a grey edge, with a grey square.",
)

# %% [markdown]
# Stronger is not always better. What the discriminator cannot tell apart any more, the generator does not learn. If
# mirrored pictures are as real as any (faces: yes, letters: no), `vary_real=("flip",)` doubles the set for free; that
# is in `own_images`, too.
#
# ## Training
#
# `own_images` is a DCGAN for small sets: repeated pixels rather than transposed convolutions, no batch normalisation in
# the discriminator, which is told instead how much the pictures of a batch differ (so that it notices collapse), R1,
# augmentation, and an average of the generator, from which the samples are drawn. The networks are narrow and the
# batches small: in minutes on a CPU many small steps get further than few large ones. At each look the samples of the
# same latents are drawn anew; every other look they are measured against the real pictures: the smaller, the better.


# %%
class Live:
    """Samples, and the distance from the data over steps, drawn anew at each look."""

    def __init__(self):
        self.place, self.measured, self.sheets = None, {}, []

    def __call__(self, look):
        self.sheets.append(look.sheet)
        if "evaluate/frechet" in look.metrics:
            self.measured[look.step] = look.metrics["evaluate/frechet"]
        figure = Figure(figsize=(8.5, 4), layout="constrained")
        samples, curve = figure.subplots(1, 2)
        samples.imshow(look.sheet)
        samples.set_axis_off()
        samples.set_title(f"step {look.step}", fontsize=9)
        curve.plot(list(self.measured), list(self.measured.values()), "o-", color="tab:blue")
        curve.set(xlim=(0, STEPS * 1.03), ylim=(0, None), xlabel="step", ylabel="Frechet distance from the data")
        alt = f"64 samples after {look.step} steps, and the Frechet distance so far, which falls."
        self.place = show(figure, alt, self.place)


live = Live()
run = jaxgan.train(
    "own_images",
    str(work / "set"),
    size=SIZE,
    steps=STEPS,
    sample_every=LOOKS,
    evaluate_every=2 * LOOKS,
    on_look=live,
    quiet=True,
    **({"batch_size": 8, "generator.width": 2, "discriminator.width": 2} if QUICK else {}),
)

# %%
print(run.diagnosis)
moments = [live.sheets[index] for index in np.linspace(0, len(live.sheets) - 1, 4).astype(int)]
part = moments[0].shape[0] // 8
_ = show(
    np.concatenate([sheet[:part] for sheet in moments]),
    "The same eight latents, a row each at four moments: from blurred blots to heads with hair, eyes and mouths.",
)

# %% [markdown]
# ## Are they copies?
#
# For each of some samples, look for the real pictures nearest to it. A copy would have itself beside it. But how near
# is too near? The measure is the real pictures themselves: how far is each from the nearest *other* real one? If
# samples are as far from real pictures as those are from one another, they are new.

# %%
samples = sampling.pictures(run.game, run.state.ema, sampling.draw_latents(run.game, jax.random.key(3), 16))
near = neighbours.nearest(samples, [real])
top, bottom = np.split(near.sheet[: near.sheet.shape[0] // 16 * 16], 2)
_ = show(
    np.concatenate([top, np.full((top.shape[0], 24, 3), 255, np.uint8), bottom], 1),
    "Sixteen samples, each followed by the three real pictures nearest to it: alike in colours, different in detail.",
)
print(f"{near}.")

# %% [markdown]
# Pictures are compared at 32 pixels, by their colours. It finds what was stored as it was; it does not find a part
# that was borrowed. `jaxgan.train` writes the same sheet, `neighbours.png`, when a run ends.
#
# ## How good are they?
#
# One measure does not do, for samples can fail in two ways: look wrong, or be too few. All of these compare features of
# a network (VGG16, which comes with jaxgan), not pixels.
#
# - **Frechet distance**: how far the two clouds of features are apart, in mean and spread. The smaller the better.
# - **Precision**: the share of samples that lie among real pictures. Are they right?
# - **Recall**: the share of real pictures that lie among samples. Are all kinds there?
#
# A figure alone says nothing. So each has a **floor**: what one half of the real pictures gets beside the other half.
# Nothing can be told from real pictures that is as good as that.

# %%
names = ("frechet", "precision", "recall", "coverage", "sliced_wasserstein")
options = report.Options(measures=names)
found = report.judge_run(run.path, directory.read(run.path), features.load(config.FEATURES), options)
print(f"{found.count[0]} samples beside {found.count[1]} real pictures, in {found.features}")
print(f"{'':18}{'samples':>9}{'floor':>9}")
for name in names:
    value = found.measures[name]
    print(f"{name:18}{value.value:>9.3g}{value.floor:>9.3g}")

# %% [markdown]
# With 144 pictures on each side these figures are rough: compare them with those of another run on the same pictures,
# never with a paper's. And most heads here come in six skin colours, so that one half has near twins in the other; the
# floor is lower than it would be for photographs.
#
# In a shell, `jaxgan evaluate RUN` prints all measures with their spreads, and `jaxgan compare RUN RUN` puts several
# runs side by side.
#
# ## A walk
#
# A generator that has learned its pictures by heart jumps from one to the next. Walk from latent to latent on great
# circles, and look at what is between. First as a strip, a row from each head to the next:

# %%
stops = sampling.latents_of(run.game, range(4 if QUICK else 6))
strip = sampling.walk(stops, 8)
_ = show(
    images.grid(sampling.pictures(run.game, run.state.ema, strip), 8),
    "Rows of eight: each begins with one head and changes step by step into that at the beginning of the next row.",
)

# %% [markdown]
# And as a video, back to the first head at the end (`pip install 'jaxgan[video]'` has the encoder; without it write a
# `.gif`). In a shell: `jaxgan interpolate RUN --out walk.mp4`.

# %%
frames = sampling.pictures(run.game, run.state.ema, sampling.walk(stops, 2 if QUICK else 30))
images.save_animation(work / "walk.mp4", [images.grid(frame[None], 1, 0, 192) for frame in frames], 30)
size = (work / "walk.mp4").stat().st_size
print(f"{len(frames)} frames, {size / 1e3:.0f} kB")
attributes = 'controls loop muted aria-label="A head that changes into five others and back, without a jump."'
display(Video(work / "walk.mp4", embed=True, html_attributes=attributes))

# %% [markdown]
# ## What next
#
# `run.save("runs/heads")` keeps the run; `run.train(steps=20_000)` goes on from here and gets better for hours. From a
# shell the whole notebook is
#
#     jaxgan train own_images --data heads.zip --evaluate-every 1000 --best frechet
#     jaxgan evaluate runs/own_images
#
# ## Exercises
#
# 1. Train with `augment=()`, as many steps. Compare the samples, D(real) and D(fake) in `run.losses()`, and the
#    measures. Who has won?
# 2. Make the set with `Settings(size=SIZE, labels=True)`: the archive's two folders become classes. Train with
#    `conditional=True` and call `run.sample(label=0)`.
# 3. Take `Settings(fit="pad", background="black")`, or `channels="grey"`. What changes, and what does it cost?
# 4. Copy one real picture into an array of 16 "samples" and call `neighbours.nearest`. What does it say?
# 5. Put your own pictures in.
#
# ## What stayed
#
# <details><summary>1. Why are fakes augmented as well as real pictures?</summary>
# If only real ones were, the discriminator would learn that real pictures are shifted and oddly coloured, and the
# generator would follow.</details>
#
# <details><summary>2. Precision is high and recall is low. What do the samples look like?</summary>
# Good and too much alike: they lie among real pictures, but most kinds of real pictures have no sample near them. That
# is mode collapse, in part or as a whole.</details>
#
# <details><summary>3. A run on other pictures has a Frechet distance half as large. Is it the better generator?
# </summary>
# Nobody knows. The distance depends on the pictures, on how many of them there are, and on the features. Look at its
# floor, and compare only runs on the same data.</details>
