"""StyleGAN2 at 256 px, as published with ADA as its baseline (arXiv 2006.06676, paper256).

jaxgan train stylegan2_256 --data FOLDER

For accelerators; several share a batch. --dry-run shows shapes, parameters, FLOPs and memory.
With --augment blit geometry tone --ada-target 0.6 --augment-probability 0 it is that paper's own method.

Settings, and the authors': those of stylegan2-ada-pytorch, --cfg paper256 --mirror 1 --aug noaug. It has half of the
feature maps of StyleGAN2's config F at 256 px (30,034,338 and 28,864,129 parameters).

    setting                     here                         theirs
    width, max_width            64, 512                      equal
    latent_size, style_size     512, 512                     equal
    mapping_layers              8, learn at .01 of the rate  equal
    style_mixing                .9                           equal
    minibatch_stddev            8                            equal; groups of neighbours, theirs of every N/8th
    clamp                       256                          equal
    learning_rate               .0025                        equal
    beta1, beta2, epsilon       0, .99, 1e-8                 equal
    loss, r1, penalty_every     non_saturating, 1, 16        equal
    path_length, path_every     2, 4                         equal
    batch_size                  64                           equal
    ema_half_life               20,000 pictures              equal
    vary_real                   flip                         equal
    augment                     none                         equal
    steps                       25,000,000 pictures          equal
    precision                   bfloat16                     float16 in the 4 largest sizes, else float32

Not as theirs: both players' updates of a step see the same fakes, the discriminator's first (theirs draws anew for the
generator's, the path length's and the discriminator's update, the generator's first); R1 and path length are parts of
their player's update, at every sixteenth and fourth step (theirs have updates of their own, for which Adam's rate and
decays are corrected); the path length's target is the mean from before the step; styles are mixed for each example by
itself. What these, and the precision, change was not measured.
"""

from typing import Any

from jaxgan.config import Config, StyleGAN2Discriminator, StyleGAN2Generator

BOTH: Any = {
    "learning_rate": 0.0025,
    "beta1": 0.0,
    "beta2": 0.99,
    "width": 64,
    "clamp": 256.0,
}

config = Config(
    data="",
    size=256,
    vary_real=("flip",),
    generator=StyleGAN2Generator(**BOTH),
    discriminator=StyleGAN2Discriminator(**BOTH, minibatch_stddev=8),
    latent_size=512,
    batch_size=64,
    r1=1.0,
    penalty_every=16,
    path_length=2.0,
    ema_half_life=20_000.0,
    precision="bfloat16",
    steps=390_625,
    sample_every=1000,
    checkpoint_every=5000,
)
