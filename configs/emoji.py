"""The StyleGAN2 at 64 px that ships: `jaxgan sample emoji`; trained on emoji on one core of a CPU.

jaxgan sample emoji
jaxgan train emoji --data FOLDER
jaxgan train emoji --data FOLDER --from emoji --generator.learning-rate 1e-3

The generator is StyleGAN2's, narrow; the discriminator, its R1 and the batch are those of `own_images`, which teach it
more in the same time on a CPU than StyleGAN2's own (docs/models.md). The file in the package holds the averaged
generator and the discriminator, float16. It was made of the graphics of Twemoji (CC BY 4.0) at 64 px, but for food,
plants and animals (benchmarks/held_out.txt), by

    python benchmarks/held_out.py FOLDER --out SPLIT
    jaxgan data make SPLIT/train --size 64 --out SET
    jaxgan train emoji --data SET --out RUN
    python benchmarks/ship.py RUN

with the versions of requirements.lock, JAX 0.10.2 on one core of an x86-64 CPU with AVX2, in 3.7 hours of processor
time. `jaxgan show emoji` tells the step at which it stands. After 200 steps the digest of the whole state was
067bf07ba4f164ac8157736f67469eb0a06354dfeecd5b05c758a10bf35e2896.
"""

from jaxgan.config import Config, DCGANDiscriminator, StyleGAN2Generator

config = Config(
    data="",
    size=64,
    vary_real=("flip",),
    augment=("colour", "translation", "cutout"),
    batch_size=16,
    generator=StyleGAN2Generator(
        learning_rate=8e-3, beta1=0.0, beta2=0.99, width=8, max_width=128, style_size=128, mapping_layers=4
    ),
    discriminator=DCGANDiscriminator(
        learning_rate=4e-4, beta1=0.0, beta2=0.99, width=20, norm="none", minibatch_stddev=4
    ),
    latent_size=128,
    r1=1.0,
    penalty_every=4,
    steps=200_000,
    ema_decay=0.999,
    sample_every=2000,
    checkpoint_every=2000,
)
