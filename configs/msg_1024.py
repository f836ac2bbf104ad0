"""MSG-GAN at 1024 px, after arXiv 1903.06048: progressive growing's networks, whole from the beginning.

jaxgan train msg_1024 --data FOLDER

For accelerators; several share a batch. --dry-run shows shapes, parameters, FLOPs and memory.

The discriminator and the loss are not as published. Settings, and the authors': of BMSG-GAN (B) and of msg-stylegan-tf
(T), which has another generator.

    setting                     here                         theirs
    generator's width,          16, 512                      equal (B: 23,079,115 parameters)
    max_width, latent_size      512
    discriminator               a picture's 3 channels are   B, T: features of it, half of all, and the block's other
                                appended to features of      half; the spread of a minibatch in every block
                                its size; the spread of a    (B: 18,756,321 parameters)
                                minibatch before the last
                                layers (23,208,630)
    loss                        wasserstein, with            B: relativistic average hinge; T: logistic with R1 of
                                gradient_penalty 10 and      weight 10
                                drift .001
    learning_rate               .003                         equal (B, T)
    beta1, beta2, epsilon       0, .99, 1e-8                 equal (B, T)
    batch_size                  16                           equal (T, 4 GPUs)
    ema_decay, ema_start        .999, from the beginning     equal (B)
    vary_real                   flip                         equal (B)
    steps                       8,000,000 pictures           T: 25,000,000
    precision                   float32                      equal

What the discriminator's departures change was not measured beyond the number of its parameters; --r1 10 --loss
non_saturating --gradient-penalty 0 --drift 0 is T's loss.
"""

from typing import Any

from jaxgan.config import Config, MSGDiscriminator, MSGGenerator

BOTH: Any = {
    "learning_rate": 3e-3,
    "beta1": 0.0,
    "beta2": 0.99,
}

config = Config(
    data="",
    size=1024,
    vary_real=("flip",),
    generator=MSGGenerator(**BOTH),
    discriminator=MSGDiscriminator(**BOTH),
    latent_size=512,
    loss="wasserstein",
    gradient_penalty=10.0,
    drift=0.001,
    batch_size=16,
    ema_decay=0.999,
    ema_start=1,
    steps=500_000,
    sample_every=1000,
    checkpoint_every=5000,
)
