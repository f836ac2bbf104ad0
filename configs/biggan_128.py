"""BigGAN at 128 px, as published (arXiv 1809.11096, ImageNet).

jaxgan train biggan_128 --data FOLDER

FOLDER has a folder of pictures for each class. For accelerators: --accumulate deals a batch into parts that fit into
memory, and with several devices it is split over them. --dry-run shows shapes, parameters, FLOPs and memory.

Settings, and the authors': of the paper, or where it is silent of BigGAN-PyTorch, its defaults (D) or its script for
eight times 256 pictures (S), which has one update of the discriminator and so twice these learning rates.

    setting                     here          theirs
    width, latent_size          96, 120       equal
    attention                   64            equal
    learning_rate               5e-5, 2e-4    equal
    discriminator_updates       2             equal
    beta1, beta2                0, .999       equal
    epsilon                     1e-6          equal (S; D 1e-8)
    batch_size                  2048          equal
    loss                        hinge         equal
    conditional, fake_labels    uniform       equal
    ema_decay                   .9999         equal
    ema_start                   20,000        equal (S)
    vary_real                   none          equal
    steps                       150,000       until it collapses
    sampling                    running       standing statistics: --standing 16
                                averages

Not as theirs: both players' last updates of a step see the same fakes (theirs draws anew for the generator); real and
fake pictures pass the discriminator apart, each with a power iteration of spectral normalisation (theirs together, one
iteration, and another in the generator's update); biases begin at 0 (theirs uniform within 1 / sqrt(fan in)) and the
last batch normalisation's gain at 1 + N(0, .02) (theirs 1). Orthogonal regularisation is the paper's for truncation and
0 in S and D; there is none here. What these change was not measured.
"""

from jaxgan.config import BigGANDiscriminator, BigGANGenerator, Config

config = Config(
    data="",
    size=128,
    conditional=True,
    generator=BigGANGenerator(width=96, attention=64, learning_rate=5e-5, beta1=0.0, epsilon=1e-6),
    discriminator=BigGANDiscriminator(width=96, attention=64, learning_rate=2e-4, beta1=0.0, epsilon=1e-6),
    latent_size=120,
    batch_size=2048,
    discriminator_updates=2,
    fake_labels="uniform",
    loss="hinge",
    ema_decay=0.9999,
    ema_start=20_000,
    steps=150_000,
    sample_every=1000,
    checkpoint_every=5000,
)
"""With 8 parts (--accumulate 8) or 8 devices a part has the authors' 256 pictures."""
