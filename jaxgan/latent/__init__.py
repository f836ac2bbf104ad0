"""Playing with a trained generator: the latent of a picture, directions of change, mixed styles."""
