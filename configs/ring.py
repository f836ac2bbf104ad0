"""Eight Gaussians on a circle: the smallest game in which a GAN can collapse.

jaxgan train ring
jaxgan sweep ring --seeds 10

Of ten seeds, all ten reach all eight modes; 97.4 % of 2,500 samples are within 3 sigma of one (96.9 % to 98.1 %; an
exact sampler 98.9 %), reverse KL .003 (at most .0045; exact .0015).
"""

import dataclasses

from jaxgan.config import load

grid = load("grid")[1]
STEPS = 40_000
config = dataclasses.replace(
    grid,
    data="ring",
    generator=dataclasses.replace(grid.generator, decay_steps=STEPS),
    # The modes are five times finer than the grid's, and the whole is four times smaller.
    discriminator=dataclasses.replace(grid.discriminator, decay_steps=STEPS, fourier_scale=3.0),
    r1=0.01,
    r2=0.01,
    steps=STEPS,
    sample_every=2000,
)
