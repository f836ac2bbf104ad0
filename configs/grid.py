"""Twenty-five Gaussians on a grid: GANs that collapse leave some without a sample."""

from jaxgan.config import Config, MLPDiscriminator, MLPGenerator

STEPS = 20_000
config = Config(
    data="grid",
    generator=MLPGenerator(widths=(128, 128, 128), learning_rate=3e-3, beta1=0.0, beta2=0.9, decay_steps=STEPS),
    discriminator=MLPDiscriminator(
        widths=(128, 128, 128), learning_rate=3e-3, beta1=0.0, beta2=0.9, decay_steps=STEPS, fourier=32
    ),
    loss="relativistic_paired",
    r1=0.03,
    r2=0.03,
    latent_size=2,
    batch_size=256,
    steps=STEPS,
    log_every=20,
    sample_every=1000,
    checkpoint_every=10_000,
)
