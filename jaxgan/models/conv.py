"""STUB by lead, until the helper's arrives."""

from jax import lax


def conv(x, kernel, stride=1, padding="SAME"):
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def conv_transpose(x, kernel, stride=2, padding="SAME"):
    return lax.conv_transpose(x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
