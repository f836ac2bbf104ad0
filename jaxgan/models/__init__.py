"""Networks as Flax Linen modules: a file a family, built from `layers` and `conv`.

Generators map latents (and labels) to images in [-1, 1], discriminators map images (and labels) to logits [N].
Parameters are float32; `dtype` is what they compute in (float32 or bfloat16). Both return float32.
"""
