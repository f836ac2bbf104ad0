"""Twenty-five Gaussians on a grid: GANs that collapse leave some without a sample.

jaxgan train grid
jaxgan sweep grid --seeds 10

Of ten seeds, all ten reach all 25 modes; 97.4 % of 2,500 samples are within 3 sigma of one (91.8 % to 97.8 %; an exact
sampler 98.9 %), reverse KL .0065 (at most .032; exact .0048), 39 s a seed on 2 CPU cores. Penalties of .1
and 60,000 steps give 95.6 %; with .03 one seed of ten loses a mode.
"""

from jaxgan.config import Config, MLPDiscriminator, MLPGenerator

STEPS = 80_000
config = Config(
    data="grid",
    generator=MLPGenerator(widths=(64,) * 4, learning_rate=3e-3, beta1=0.0, beta2=0.9, decay_steps=STEPS),
    discriminator=MLPDiscriminator(
        widths=(64,) * 3, fourier=32, learning_rate=3e-3, beta1=0.0, beta2=0.9, decay_steps=STEPS
    ),
    loss="relativistic_paired",
    r1=0.06,
    r2=0.06,
    latent_size=2,
    batch_size=100,
    steps=STEPS,
    log_every=100,
    sample_every=4000,
    checkpoint_every=20_000,
)
