"""Which tokens a token depends on in the real stack, found by gradients."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import torch
from torch import Tensor

from samattn_cli import load_config
from samattn_cli.encoder.plan import LayerConfig
from samattn_cli.families.qwen2_5_vl.stack import in_order, positions
from samattn_cli.stack.encoder import ImageEncoder, build
from tests.support.weights import randomised

LEAST = 1e-30
"""Tokens that a mask of -100 keeps apart have a gradient all the same, of e**-100 or about 1e-44."""


def dependence(keys: dict[str, object], seed: int = 0) -> Iterator[tuple[LayerConfig, Tensor]]:
    """Each layer, with which tokens (h, w) of the first grid each token (H, W) that leaves it depends on: (H, W, h, w).

    There is an image for each token: the gradient of token n of image n with respect to that image is one backward for
    all tokens, as images do not depend on each other.
    """
    images = prod(load_config(keys).grid)
    config = load_config({**keys, "run": {"batch_size": images, "attention": "eager"}})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = randomised(build(config), 0.2)
        # where MAE masks, the first grid is of those patches that stay
        first = "pos_embed" if config.pos_embed == "mae" else "patch_embed"
        outputs: dict[str, Tensor] = {}
        for name in (first, *(layer.name for layer in config.layers)):
            module = model.get_submodule(name)
            module.register_forward_hook(lambda _m, _i, out, name=name: outputs.__setitem__(name, out))
        model(torch.randn(config.input_shape))
        entering = outputs[first][0] if isinstance(outputs[first], tuple) else outputs[first]
        for layer in config.layers:
            chosen = _tokens(model, outputs[layer.name], layer.out_grid, images, ordered=True)
            tokens = prod(layer.out_grid)
            mine = chosen.flatten(1, 2)[torch.arange(tokens), torch.arange(tokens)]
            (grad,) = torch.autograd.grad((mine * torch.randn_like(mine)).sum(), entering, retain_graph=True)
            grid = config.layers[0].grid
            seen = _tokens(model, grad.abs(), grid, images, ordered=False).sum(-1) > LEAST
            yield layer, seen[:tokens].view(*layer.out_grid, *grid)


def _tokens(model: ImageEncoder, x: Tensor, grid: tuple[int, int], images: int, *, ordered: bool) -> Tensor:
    """The tokens of the grid of each image, (images, H, W, C), however they lie; `ordered`: in the order of windows."""
    if x.dim() == 4:
        return x
    if x.dim() == 3:  # (B, 1 + N, C), a class token in front
        return x[:, -prod(grid) :].view(images, *grid, -1)
    places = positions(grid).repeat(images, 1)
    if ordered:
        places = in_order(places, model.pos_embed._order())
    of_image = torch.arange(len(x)) // prod(grid)
    out = x.new_zeros(images, *grid, x.shape[-1])
    return out.index_put((of_image, places[:, 0], places[:, 1]), x)
