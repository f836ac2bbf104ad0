"""Progressive growing to 1024 px, as published (arXiv 1710.10196, CelebA-HQ).

jaxgan train progressive_1024 --data FOLDER

For accelerators; several share a batch. --dry-run shows shapes, parameters, FLOPs and memory.

Settings, and the authors': those of progressive_growing_of_gans, preset v2 for 8 GPUs, whose schedule is in pictures:
600,000 at each size, and as many before to fade it in. (The paper's own results are of v1: batches of 16, of 14, 6
and 3 from 256 px on, 800,000 pictures, one rate.)

    setting                     here                         theirs
    networks' width, max_width  16, 512                      equal
    latent_size                 512                          equal
    learning_rate, grow_rates   .001; 128 px on: times       equal
                                1.5, 2, 3, 3
    beta1, beta2, epsilon       0, .99, 1e-8                 equal
    batch_size,                 512, 256, 128, 64 up to      equal
    grow_batch_sizes            32 px, then 32
    grow, grow_fade_steps       600,000 pictures each        equal, to a batch
    steps                       12,000,000 pictures          equal
    loss, gradient_penalty      wasserstein, 10              equal
    drift                       .001                         equal
    minibatch_stddev            4                            equal; groups of neighbours, theirs of every N/4th
    ema_decay, ema_start        .999, from the beginning     equal
    vary_real                   flip                         equal
    conditional                 embedding, projection        AC-GAN
    precision                   float32                      equal

Not as theirs: Adam begins anew when pictures grow (theirs also when they are faded in); the generator is judged by the
fakes that the discriminator has learned of (theirs draws anew). What these change was not measured.
"""

from typing import Any

from jaxgan.config import Config, ProgressiveDiscriminator, ProgressiveGenerator

BOTH: Any = {
    "learning_rate": 1e-3,
    "beta1": 0.0,
    "beta2": 0.99,
}
PHASE = 600_000  # Pictures in which a size is faded in, and in which it then is whole.
BATCHES = (512, 256, 128, 64, 32, 32, 32, 32, 32)
FADES = [round(PHASE / batch) for batch in BATCHES]
STEPS = [FADES[0], *(2 * fade for fade in FADES[1:])]

config = Config(
    data="",
    size=1024,
    vary_real=("flip",),
    generator=ProgressiveGenerator(**BOTH),
    discriminator=ProgressiveDiscriminator(**BOTH),
    latent_size=512,
    loss="wasserstein",
    gradient_penalty=10.0,
    drift=0.001,
    batch_size=BATCHES[-1],
    grow=tuple(sum(STEPS[: stage + 1]) for stage in range(len(STEPS) - 1)),
    grow_fade_steps=tuple(FADES[1:]),
    grow_batch_sizes=BATCHES,
    grow_rates=(1.0, 1.0, 1.0, 1.0, 1.0, 1.5, 2.0, 3.0, 3.0),
    ema_decay=0.999,
    ema_start=1,
    steps=sum(STEPS[:-1]) + (12_000_000 - 15 * PHASE) // BATCHES[-1],
    sample_every=1000,
    checkpoint_every=5000,
)
