"""Neural style transfer: the picture that has one picture's content and another's style, by optimisation.

`transfer.stylize` is the whole as a pure function; `weights.load` has the network that it looks through.
"""
