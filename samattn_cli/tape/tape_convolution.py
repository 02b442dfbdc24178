"""Operations of the Tape on images (B, C, H, W): convolutions, pooling, resizing.

On meta a convolution's result is contiguous, whatever the memory order of its input; pooling and resizing keep that.
"""

from __future__ import annotations

from ..units import INT64_BYTES
from . import derivatives
from .ops import ELEMENTWISE_FLOPS
from .tape_casting import Casting
from .tensor import Dim, Shape, Tensor, contiguous_stride


class Convolving(Casting):
    """Convolutions, pooling and resizing."""

    def conv2d(
        self,
        name: str,
        x: Tensor,
        out_channels: Dim,
        kernel: Dim,
        *,
        stride: Dim = 1,
        padding: Dim = 0,
        groups: Dim = 1,
        bias: bool = True,
    ) -> Tensor:
        """``nn.Conv2d``, as the submodule `name`: (B, in, height, width) -> (B, out, ...)."""
        batch, in_channels, *size = x.shape
        made = (batch, out_channels, *((side + 2 * padding - kernel) // stride + 1 for side in size))
        weight = (out_channels, in_channels // groups, kernel, kernel)
        return self._convolution(name, x, weight, made, bias=bias)

    def conv3d(self, name: str, x: Tensor, out_channels: Dim, kernel: Shape, *, bias: bool = True) -> Tensor:
        """``nn.Conv3d`` of `kernel` with that stride: (B, in, frames, height, width) -> (B, out, ...).

        It is counted with the convolutions over two dimensions.
        """
        batch, in_channels, *size = x.shape
        made = (batch, out_channels, *(side // step for side, step in zip(size, kernel, strict=True)))
        return self._convolution(name, x, (out_channels, in_channels, *kernel), made, bias=bias)

    def conv_transpose2d(
        self, name: str, x: Tensor, out_channels: Dim, kernel: Dim, *, stride: Dim = 1, bias: bool = True
    ) -> Tensor:
        """``nn.ConvTranspose2d``, as the submodule `name`: (B, in, height, width) -> (B, out, ...)."""
        batch, in_channels, *size = x.shape
        made = (batch, out_channels, *((side - 1) * stride + kernel for side in size))
        return self._convolution(
            name, x, (in_channels, out_channels, kernel, kernel), made, bias=bias, transposed=True
        )

    def _convolution(
        self, name: str, x: Tensor, weight: Shape, made: Shape, *, bias: bool, transposed: bool = False
    ) -> Tensor:
        with self.module(name):
            weights = [self.parameter("weight", *weight)]
            weights += [self.parameter("bias", made[1])] if bias else []
            low, *used = self._for_product(x, *weights)
            out = self.like(low, *made)
            places = (x if transposed else out).elements // (x if transposed else out).shape[1]
            macs = places * used[0].elements
            self._product("", "conv2d", low, out, used, weights, macs=macs)
            self.free(low, *self._frozen_copies(used), keep=x)
            derivative = derivatives.conv2d(low, *used, macs=macs)
            return self.derived("", out, (low, *used), derivative, saves=(low, used[0]))

    def max_pool2d(self, name: str, x: Tensor, kernel: Dim, *, stride: Dim | None = None) -> Tensor:
        """``F.max_pool2d`` of `kernel`, whose stride is that too if none is said: (B, C, H, W) -> (B, C, ...)."""
        step = kernel if stride is None else stride
        shape = (*x.shape[:2], *((side - kernel) // step + 1 for side in x.shape[2:]))
        out = _in_order_of(x, self.like(x, *shape))
        index = self.new(shape, contiguous_stride(shape), INT64_BYTES)
        flops = ELEMENTWISE_FLOPS["max_pool"] * out.elements * kernel**2
        self.record(
            name,
            "max_pool",
            reads=(x,),
            writes=(out, index),
            elementwise_flops=flops,
            frees=(index.storage,),
        )
        return self.derived(name, out, (x,), derivatives.max_pool(x, index), saves=(x, index))

    def pooling(self, name: str, x: Tensor, kernel: Dim) -> Tensor:
        """``nn.MaxPool2d`` of `kernel`, as the submodule `name`: (B, C, H, W) -> (B, C, ...)."""
        with self.module(name):
            return self.max_pool2d("", x, kernel)

    def interpolate(self, name: str, x: Tensor, size: Shape, mode: str) -> Tensor:
        """``F.interpolate`` to `size`, under autocast in the wide type.

        `mode` is "nearest", "bilinear" or "bicubic", or of (B, C, L) "linear".
        """
        kind = f"upsample_{mode}"
        wide = self._for_statistics(name, x)
        out = _in_order_of(wide, self.like(wide, *x.shape[:2], *size))
        flops = ELEMENTWISE_FLOPS[kind] * out.elements
        self.record(name, kind, reads=(wide,), writes=(out,), elementwise_flops=flops)
        if wide is not x:
            self.free(wide)
        return self.derived(name, out, (wide,), derivatives.interpolate(wide, mode))


def _in_order_of(x: Tensor, out: Tensor) -> Tensor:
    return out.channels_last() if x.is_channels_last else out
