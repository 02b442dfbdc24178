"""Single layers in a training step, by `samattn trace --device NAME` and by torch's own CUDA code on the dry device.

    PYTHONPATH=. python -m tests.public.traced_layers a100_80              # all layers, in float32
    PYTHONPATH=. python -m tests.public.traced_layers a100_80 float16 mha  # another type, some layers

Prints the layers whose bytes differ, allocated and reserved, and how many are equal. Needs torch's CUDA build. Not run: batch norm,
instance norm, LSTM, GRU, FFT and a product of numbers, of which the dry device has no cuDNN, cuFFT and compiler.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samattn_cli.device.load import load_device
from tests.public.traced import on_the_dry_device
from tests.public.traced_dry import forked, ran, replayed
from tests.public.traced_models import Model

Layers = dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]]


class Layer(nn.Module):
    """A function of an input that needs a gradient."""

    def __init__(self, function: Callable[..., Tensor], *modules: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(modules)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Any:
        return self.function(x * self.scale, *self.parts)


def call(x: Any, module: Any) -> Any:
    return module(x)


IMAGES = (4, 64, 64, 64)
TOKENS = (4, 1024, 256)
LAYERS: Layers = {
    "rmsnorm": (lambda: Layer(call, nn.RMSNorm(256)), TOKENS),
    "rmsnorm_nw": (lambda: Layer(call, nn.RMSNorm(256, elementwise_affine=False)), TOKENS),
    "groupnorm": (lambda: Layer(call, nn.GroupNorm(8, 64)), IMAGES),
    "dropout": (lambda: Layer(call, nn.Dropout(0.1)), TOKENS),
    "dropout2d": (lambda: Layer(call, nn.Dropout2d(0.1)), IMAGES),
    "alphadropout": (lambda: Layer(call, nn.AlphaDropout(0.1)), TOKENS),
    "gelu": (lambda: Layer(call, nn.GELU()), TOKENS),
    "silu": (lambda: Layer(call, nn.SiLU()), TOKENS),
    "prelu": (lambda: Layer(call, nn.PReLU(64)), IMAGES),
    "hardswish": (lambda: Layer(call, nn.Hardswish()), TOKENS),
    "elu": (lambda: Layer(call, nn.ELU()), TOKENS),
    "glu": (lambda: Layer(call, nn.GLU()), TOKENS),
    "softplus": (lambda: Layer(call, nn.Softplus()), TOKENS),
    "logsigmoid": (lambda: Layer(call, nn.LogSigmoid()), TOKENS),
    "convT": (lambda: Layer(call, nn.ConvTranspose2d(64, 32, 2, 2)), IMAGES),
    "conv_dw": (lambda: Layer(call, nn.Conv2d(64, 64, 7, padding=3, groups=64)), IMAGES),
    "conv_dil": (lambda: Layer(call, nn.Conv2d(64, 64, 3, padding=2, dilation=2)), IMAGES),
    "conv1d": (lambda: Layer(call, nn.Conv1d(1024, 64, 3)), TOKENS),
    "conv3d": (lambda: Layer(lambda x, m: m(x[:, :, None]), nn.Conv3d(64, 16, (1, 3, 3))), IMAGES),
    "avgpool": (lambda: Layer(call, nn.AvgPool2d(2)), IMAGES),
    "adaptavg": (lambda: Layer(call, nn.AdaptiveAvgPool2d(7)), IMAGES),
    "adaptmax": (lambda: Layer(call, nn.AdaptiveMaxPool2d(7)), IMAGES),
    "maxpool": (lambda: Layer(call, nn.MaxPool2d(3, 2, 1)), IMAGES),
    "up_near": (lambda: Layer(call, nn.Upsample(scale_factor=2)), IMAGES),
    "up_bil": (lambda: Layer(call, nn.Upsample(scale_factor=2, mode="bilinear")), IMAGES),
    "up_bic": (lambda: Layer(call, nn.Upsample(scale_factor=2, mode="bicubic")), IMAGES),
    "aa": (lambda: Layer(lambda x: F.interpolate(x, size=(40, 40), mode="bicubic", antialias=True)), IMAGES),
    "pixelshuffle": (lambda: Layer(call, nn.PixelShuffle(2)), IMAGES),
    "mha": (
        lambda: Layer(
            lambda x, m: m(x, x, x, need_weights=False)[0], nn.MultiheadAttention(256, 4, batch_first=True)
        ),
        TOKENS,
    ),
    "mha_w": (
        lambda: Layer(
            lambda x, m: m(x, x, x)[0], nn.MultiheadAttention(256, 4, dropout=0.1, batch_first=True)
        ),
        TOKENS,
    ),
    "tel": (lambda: Layer(call, nn.TransformerEncoderLayer(256, 4, 512, batch_first=True)), TOKENS),
    "sdpa_drop": (
        lambda: Layer(
            lambda x: F.scaled_dot_product_attention(
                *[x.view(4, 1024, 4, 64).transpose(1, 2)] * 3, dropout_p=0.1
            )
        ),
        TOKENS,
    ),
    "sdpa_boolmask": (
        lambda: Layer(
            lambda x: F.scaled_dot_product_attention(
                *[x.view(4, 1024, 4, 64).transpose(1, 2)] * 3,
                attn_mask=torch.ones(1024, 1024, dtype=torch.bool, device=x.device),
            )
        ),
        TOKENS,
    ),
    "sdpa_causal": (
        lambda: Layer(
            lambda x: F.scaled_dot_product_attention(
                *[x.view(4, 1024, 4, 64).transpose(1, 2)] * 3, is_causal=True
            )
        ),
        TOKENS,
    ),
    "sdpa_math": (
        lambda: Layer(
            lambda x: F.scaled_dot_product_attention(
                *[x.view(4, 1024, 4, 64).transpose(1, 2).transpose(2, 3).contiguous().transpose(2, 3)] * 3,
                dropout_p=0.1,
            )
        ),
        TOKENS,
    ),
    "grid_sample": (
        lambda: Layer(lambda x: F.grid_sample(x, torch.zeros(4, 32, 32, 2, device=x.device, dtype=x.dtype))),
        IMAGES,
    ),
    "unfold": (lambda: Layer(lambda x: F.unfold(x, 3, padding=1)), IMAGES),
    "fold": (lambda: Layer(lambda x: F.fold(F.unfold(x, 2, stride=2), (64, 64), 2, stride=2)), IMAGES),
    "softmax": (lambda: Layer(lambda x: x.softmax(-1)), TOKENS),
    "logsoftmax": (lambda: Layer(lambda x: x.log_softmax(-1)), TOKENS),
    "einsum": (lambda: Layer(lambda x: torch.einsum("bnc,bmc->bnm", x, x)), TOKENS),
    "normalize": (lambda: Layer(lambda x: F.normalize(x, dim=-1)), TOKENS),
    "norm": (lambda: Layer(lambda x: x.norm(dim=-1)), TOKENS),
    "std": (lambda: Layer(lambda x: x.std(-1)), TOKENS),
    "var_mean": (lambda: Layer(lambda x: torch.var_mean(x, -1)[0]), TOKENS),
    "cumsum": (lambda: Layer(lambda x: x.cumsum(1)), TOKENS),
    "topk": (lambda: Layer(lambda x: x.topk(64, dim=1)[0]), TOKENS),
    "sort": (lambda: Layer(lambda x: x.sort(dim=1)[0]), TOKENS),
    "max": (lambda: Layer(lambda x: x.max(1)[0]), TOKENS),
    "amax": (lambda: Layer(lambda x: x.amax(1)), TOKENS),
    "gather": (
        lambda: Layer(lambda x: x.gather(1, torch.zeros(4, 64, 256, dtype=torch.long, device=x.device))),
        TOKENS,
    ),
    "index_select": (
        lambda: Layer(lambda x: x.index_select(1, torch.zeros(64, dtype=torch.long, device=x.device))),
        TOKENS,
    ),
    "index": (lambda: Layer(lambda x: x[:, torch.zeros(64, dtype=torch.long, device=x.device)]), TOKENS),
    "cdist": (lambda: Layer(lambda x: torch.cdist(x, x)), TOKENS),
    "bilinear": (lambda: Layer(lambda x, m: m(x, x), nn.Bilinear(256, 256, 4)), (64, 256)),
    "linear_nc": (lambda: Layer(lambda x, m: m(x.transpose(1, 2)), nn.Linear(1024, 64)), TOKENS),
    "linear3_nobias": (lambda: Layer(call, nn.Linear(256, 64, bias=False)), TOKENS),
    "where": (lambda: Layer(lambda x: torch.where(x > 0, x, 0.0)), TOKENS),
    "masked_fill": (lambda: Layer(lambda x: x.masked_fill(x > 0, 0.0)), TOKENS),
    "clamp": (lambda: Layer(lambda x: x.clamp(0, 1)), TOKENS),
    "pad_reflect": (lambda: Layer(lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect")), IMAGES),
    "pad_rep": (lambda: Layer(lambda x: F.pad(x, (1, 1, 1, 1), mode="replicate")), IMAGES),
    "pad_circ": (lambda: Layer(lambda x: F.pad(x, (1, 1, 1, 1), mode="circular")), IMAGES),
    "roll": (lambda: Layer(lambda x: x.roll((3, 3), (2, 3))), IMAGES),
    "flip": (lambda: Layer(lambda x: x.flip(2)), IMAGES),
    "repeat_i": (lambda: Layer(lambda x: x.repeat_interleave(2, dim=1)), TOKENS),
    "crossent": (
        lambda: Layer(
            lambda x: F.cross_entropy(x.flatten(0, 1), torch.zeros(4096, dtype=torch.long, device=x.device))
        ),
        TOKENS,
    ),
    "matmul_b": (lambda: Layer(lambda x: x @ x.transpose(1, 2)), TOKENS),
    "baddbmm": (lambda: Layer(lambda x: torch.baddbmm(x @ x.transpose(1, 2), x, x.transpose(1, 2))), TOKENS),
    "chlast": (
        lambda: Layer(
            lambda x, m: m(x.contiguous(memory_format=torch.channels_last)), nn.Conv2d(64, 64, 3, padding=1)
        ),
        IMAGES,
    ),
    "groupnorm_nw": (lambda: Layer(call, nn.GroupNorm(8, 64, affine=False)), IMAGES),
    "gn1": (lambda: Layer(lambda x, m: m(x[:, :, :1, :1]), nn.GroupNorm(8, 64)), IMAGES),
    "argmax": (lambda: Layer(lambda x: x * x.argmax(1, keepdim=True)), TOKENS),
    "min": (lambda: Layer(lambda x: x.min(1)[0]), TOKENS),
    "maxlast": (lambda: Layer(lambda x: x.max(-1)[0]), TOKENS),
    "maxall": (lambda: Layer(lambda x: x.max()), TOKENS),
    "amaxall": (lambda: Layer(lambda x: x.amax((1, 2))), TOKENS),
    "std1": (lambda: Layer(lambda x: x.std(1)), TOKENS),
    "var1": (lambda: Layer(lambda x: x.var(1)), TOKENS),
    "norm1": (lambda: Layer(lambda x: x.norm(dim=1)), TOKENS),
    "normalize1": (lambda: Layer(lambda x: F.normalize(x, dim=1)), TOKENS),
    "unfold_nc": (lambda: Layer(lambda x: F.unfold(x.transpose(2, 3), 3, padding=1)), IMAGES),
    "unfold_small": (lambda: Layer(lambda x: F.unfold(x, 1, stride=2)), IMAGES),
    "mha_seq": (
        lambda: Layer(lambda x, m: m(x, x, x, need_weights=False)[0], nn.MultiheadAttention(256, 4)),
        TOKENS,
    ),
    "mha_x": (
        lambda: Layer(
            lambda x, m: m(x[:, :64], x, x, need_weights=False)[0],
            nn.MultiheadAttention(256, 4, batch_first=True),
        ),
        TOKENS,
    ),
    "tdl": (
        lambda: Layer(
            lambda x, m: m(x[:, :100], x), nn.TransformerDecoderLayer(256, 4, 512, batch_first=True)
        ),
        TOKENS,
    ),
    "sdpa_sum": (
        lambda: Layer(
            lambda x: F.scaled_dot_product_attention(*[x.view(4, 1024, 4, 64).transpose(1, 2)] * 3)
        ),
        TOKENS,
    ),
    "dropout3": (lambda: Layer(call, nn.Dropout(0.1)), (64, 3, 7)),
    "timmattn": (
        lambda: Layer(
            lambda x, a, b: b(
                F.scaled_dot_product_attention(*a(x).view(4, 1024, 3, 4, 64).permute(2, 0, 3, 1, 4).unbind(0))
                .transpose(1, 2)
                .reshape(4, 1024, 256)
            ),
            nn.Linear(256, 768),
            nn.Linear(256, 256),
        ),
        TOKENS,
    ),
}


def main(name: str, dtype: str = "float32", *words: str) -> None:
    on_the_dry_device("tests.public.traced_layers", [name, dtype, *words], name)
    device = load_device(name, "")
    equal = 0
    for layer, (build, shape) in LAYERS.items():
        if words and layer not in words:
            continue
        model = Model(layer, build, {"0": shape})
        ours = forked(lambda m=model: replayed(m, "training", dtype, device))
        theirs = forked(lambda m=model: ran(m, "training", dtype))
        equal += ours == theirs
        if ours != theirs:
            print(f"{layer}: {_difference(ours, theirs)}", flush=True)
    print(f"{equal} equal", flush=True)


def _difference(ours: Any, theirs: Any) -> str:
    if isinstance(ours, str) or isinstance(theirs, str):
        return f"{ours} / {theirs}"
    return f"{ours[0] - theirs[0]:+,} B allocated, {ours[1] - theirs[1]:+,} B reserved"


if __name__ == "__main__":
    main(*sys.argv[1:])
