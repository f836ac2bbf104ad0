"""StyleGAN2 at 1024 px, as published (arXiv 1912.04958, config F).

jaxgan train stylegan2_1024 --data FOLDER

For accelerators; several share a batch. --dry-run shows shapes, parameters, FLOPs and memory.

Settings, and the authors': those of NVlabs/stylegan2, config F (--cfg stylegan2 of stylegan2-ada-pytorch has the same,
with mixed precision and so with clamp 256).

    setting                     here                         theirs
    width, max_width            32, 512                      equal
    latent_size, style_size     512, 512                     equal
    mapping_layers              8, learn at .01 of the rate  equal
    style_mixing                .9                           equal
    minibatch_stddev            4                            equal; groups of neighbours, theirs of every N/4th
    learning_rate               .002                         equal
    beta1, beta2, epsilon       0, .99, 1e-8                 equal
    loss, r1, penalty_every     non_saturating, 10, 16       equal
    path_length, path_every     2, 4                         equal
    batch_size                  32                           equal
    ema_half_life               10,000 pictures              equal
    vary_real                   flip                         equal
    augment, clamp              none                         equal
    steps                       25,000,000 pictures          equal
    precision                   bfloat16                     float32

Not as theirs: both players' updates of a step see the same fakes, the discriminator's first (theirs draws anew for the
generator's, the path length's and the discriminator's update, the generator's first); R1 and path length are parts of
their player's update, at every sixteenth and fourth step (theirs have updates of their own, for which Adam's rate and
decays are corrected); the path length's target is the mean from before the step; styles are mixed for each example by
itself. What these, and the precision, change was not measured.
"""

from typing import Any

from jaxgan.config import Config, StyleGAN2Discriminator, StyleGAN2Generator

BOTH: Any = {
    "learning_rate": 0.002,
    "beta1": 0.0,
    "beta2": 0.99,
}

config = Config(
    data="",
    size=1024,
    vary_real=("flip",),
    generator=StyleGAN2Generator(**BOTH, width=32),
    discriminator=StyleGAN2Discriminator(**BOTH, width=32, minibatch_stddev=4),
    latent_size=512,
    batch_size=32,
    r1=10.0,
    penalty_every=16,
    path_length=2.0,
    ema_half_life=10_000.0,
    precision="bfloat16",
    steps=781_250,
    sample_every=1000,
    checkpoint_every=5000,
)
