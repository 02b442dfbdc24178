"""The Tape: an abstract machine that runs a forward pass on shapes and writes down what each operation costs.

A block on the Tape reads like the block in torch: the same calls in the same order with the same names. Each call
appends an immutable `Op`; everything that samattn reports is a sum, a running maximum or a picture of those. Each
tensor knows the node that made it, so that `autograd.backward` can record the backward of what has been recorded.
"""

from __future__ import annotations

from .tape_convolution import Convolving
from .tape_product import Multiplying
from .tape_reduction import Reducing


class Tape(Multiplying, Convolving, Reducing):
    """The operations of an encoder, each with its backward.

    Where each is, and where the next one goes: products in tape_product, images in tape_convolution, one number from
    one place in tape_elementwise, one from many in tape_reduction, what computes nothing in tape_moving.
    """
