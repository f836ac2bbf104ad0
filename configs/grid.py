"""Twenty-five Gaussians on a grid: GANs that collapse leave some without a sample.

jaxgan train grid
jaxgan sweep grid --seeds 10
"""

from jaxgan.config import Config, MLPDiscriminator, MLPGenerator

STEPS = 60_000
config = Config(
    data="grid",
    generator=MLPGenerator(widths=(64,) * 4, learning_rate=3e-3, beta1=0.0, beta2=0.9, decay_steps=STEPS),
    discriminator=MLPDiscriminator(
        widths=(64,) * 3, fourier=32, learning_rate=3e-3, beta1=0.0, beta2=0.9, decay_steps=STEPS
    ),
    loss="relativistic_paired",
    r1=0.1,
    r2=0.1,
    latent_size=2,
    batch_size=100,
    steps=STEPS,
    log_every=100,
    sample_every=3000,
    checkpoint_every=15_000,
)
