"""R3GAN at 256 px, as published (arXiv 2501.05441, FFHQ).

jaxgan train r3gan_256 --data FOLDER

For accelerators; several share a batch. By their compilers (docs/scale.md) it takes 61 GiB of each of 8 H100; 16 chips
of a TPU v5e need --accumulate 2, with 8.5 GiB each (both with DiffAugment in place of its augmentation). --dry-run
shows shapes, parameters, FLOPs and memory.

Settings, and the authors': those of their code, preset FFHQ-256 with --mirror 1 --aug 1.

    setting                     here                         theirs
    width, max_width, blocks,   96, 768, 2, 16, 2            equal
    group_width, expansion
    latent_size                 64                           equal
    learning_rate,              2e-4 to 5e-5                 equal
    final_learning_rate
    beta1, beta2, final_beta2   0, .9 to .99                 equal
    epsilon                     1e-8                         equal
    r1, r2, penalty_final       150 to 15                    equal
    decay_steps,                20,000,000 pictures,         equal
    penalty_decay_steps         by a cosine
    ema_half_life,              0 to 500,000 pictures, as    equal
    ema_rise_steps              long
    augment                     blit geometry rare_tone      equal
                                cutout
    augment_probability,        0 to .3, as long             equal
    augment_rise_steps
    batch_size                  256                          equal
    loss                        relativistic_paired          equal
    vary_real                   flip                         equal
    steps                       100,000                      until it is stopped
    precision                   bfloat16                     only in the 4 stages of the largest pictures

Not as theirs: both players' updates of a step see the same pictures and fakes (theirs draws both anew for the
generator). What this, and the precision, change was not measured.
"""

from typing import Any

from jaxgan.config import Config, R3GANDiscriminator, R3GANGenerator

FALL = 78_125  # Steps in which everything falls: 20 million pictures.
BOTH: Any = {
    "learning_rate": 2e-4,
    "final_learning_rate": 5e-5,
    "decay_steps": FALL,
    "beta1": 0.0,
    "beta2": 0.9,
    "final_beta2": 0.99,
}

config = Config(
    data="",
    size=256,
    vary_real=("flip",),
    generator=R3GANGenerator(**BOTH),
    discriminator=R3GANDiscriminator(**BOTH),
    latent_size=64,
    batch_size=256,
    loss="relativistic_paired",
    r1=150.0,
    r2=150.0,
    penalty_decay_steps=FALL,
    penalty_final=0.1,
    augment=("blit", "geometry", "rare_tone", "cutout"),
    augment_probability=0.3,
    augment_rise_steps=FALL,
    ema_half_life=500_000.0,
    ema_rise_steps=FALL,
    precision="bfloat16",
    steps=100_000,
    sample_every=1000,
    checkpoint_every=5000,
)
