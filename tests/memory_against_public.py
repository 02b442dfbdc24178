"""Activations at the peak of encoders that others wrote, next to what samattn derives: a table of tests/README.md.

python tests/memory_against_public.py

An inference forward of one image on the meta device, traced as the cross-check traces samattn's own stack: every
allocation rounded up to 512 bytes, attention kernels as CUDA chooses them. Weights, buffers and the input are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import public_hiera
import public_plain
import public_sam3
import public_swin
import public_vitdet
import torch
import torch.nn.functional as F
from segment_anything_encoder import official_encoder
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers import SamVisionConfig, SamVisionModel

from samattn_cli import EncoderConfig, analyze, load_config
from samattn_cli.cost.encoder import forward
from samattn_cli.cost.memory import weights_bytes
from samattn_cli.nn.cuda import AsOnCuda
from samattn_cli.nn.encoder import image_for
from samattn_cli.nn.trace import Tracer
from samattn_cli.units import rounded

MIB = 2**20
HEADER = """\
| model | whose code | attention | type | public, MiB | samattn, MiB | ratio |
| :-- | :-- | :-- | :-- | --: | --: | --: |
"""


class Plain(TorchFunctionMode):
    """Calls attention and softmax as samattn's own stack calls them, without arguments that change nothing here."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run `func`."""
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            left_out = {name: kwargs.pop(name, None) for name in ("dropout_p", "is_causal", "enable_gqa")}
            assert not any(left_out.values()), left_out
            kwargs.setdefault("scale", args[0].shape[-1] ** -0.5)
        if func is F.softmax and args[0].dtype == torch.float16 and kwargs.get("dtype") == torch.float32:
            return torch._softmax(args[0], kwargs["dim"], True)  # one kernel, at CUDA
        return func(*args, **kwargs)


@dataclass(frozen=True)
class Row:
    """A preset, and the code of somebody else that runs it, under an attention kernel and in a type."""

    preset: str
    whose: str
    make: Callable[[EncoderConfig, str], nn.Module]
    attention: str
    dtype: str = "float32"

    @property
    def config(self) -> EncoderConfig:
        """The encoder for samattn."""
        return load_config(self.preset, [f"run.attention={self.attention}", f"run.dtype={self.dtype}"])


def _sam(config: EncoderConfig, attention: str) -> nn.Module:
    stage = config.stages[0]
    settings = SamVisionConfig(
        hidden_size=stage.embed_dim,
        num_hidden_layers=stage.depth,
        num_attention_heads=stage.num_heads,
        mlp_dim=stage.mlp_dim,
        window_size=stage.window_size[0],
        global_attn_indexes=list(stage.global_attn_indexes),
        attn_implementation=attention,
    )
    return SamVisionModel(settings).eval()


def _with(model: nn.Module, attention: str) -> nn.Module:
    for module in model.modules():
        if hasattr(module, "config"):
            module.config._attn_implementation = attention
    return model


ROWS = (
    *(
        Row(preset, "segment-anything", lambda c, _: official_encoder(c, "meta"), "eager")
        for preset in ("sam_vit_b", "sam_vit_l", "sam_vit_h")
    ),
    Row("sam_vit_b", "transformers", _sam, "sdpa"),
    Row("sam_vit_b", "transformers", _sam, "eager"),
    Row("sam_vit_b", "transformers", _sam, "eager", "bfloat16"),
    Row("sam_vit_b", "transformers", _sam, "eager", "float16"),
    Row("vitdet_b", "transformers", lambda c, _: public_vitdet.Public(c), "eager"),
    *(
        Row(
            "sam2_hiera_t",
            "transformers",
            lambda _, a: _with(public_hiera.model(**public_hiera.TRUNKS["sam2_hiera_t"]), a),
            attention,
        )
        for attention in ("sdpa", "eager")
    ),
    *(
        Row("swin_t", "transformers", lambda c, a: _with(public_swin.public_encoder(c), a), attention)
        for attention in ("sdpa", "eager")
    ),
    Row("swinv2_t", "transformers", lambda c, _: public_swin.public_encoder(c), "eager"),
    *(
        Row(preset, "transformers", lambda c, a: _with(public_plain.official(c), a), attention)
        for preset in ("vit_b", "mae_b")
        for attention in ("sdpa", "eager")
    ),
    *(
        Row("sam3_vision", "transformers", lambda c, a: public_sam3.public_encoder(c, "meta", a), attention)
        for attention in ("sdpa", "eager")
    ),
)


def public(row: Row) -> int:
    """Bytes of activations at the peak of their encoder."""
    config = row.config
    dtype: torch.dtype = getattr(torch, row.dtype)
    with torch.device("meta"):
        model = row.make(config, row.attention).to(dtype)
        image = image_for(config, "meta").to(dtype)
        mode = Tracer("meta", 0)
        mode.ignore(*model.parameters(), *model.buffers(), image)
        with torch.no_grad(), AsOnCuda(), Plain(), mode:
            model(image)
    return mode._part.peak_bytes


def derived(row: Row) -> int:
    """What samattn derives: the peak less weights and input."""
    before = weights_bytes(forward(row.config)) + rounded(image_for(row.config, "meta").nbytes)
    return analyze(row.config, verify=False).totals.peak_bytes - before


def line(row: Row, theirs: float) -> str:
    """A line of the table, for `theirs` MiB."""
    ours = derived(row) / MIB
    figures = f"{theirs:,.2f} | {ours:,.2f} | {theirs / ours:.2f}"
    return f"| {row.preset} | {row.whose} | {row.attention} | {row.dtype} | {figures} |"


if __name__ == "__main__":
    print(HEADER + "\n".join(line(row, round(public(row) / MIB, 2)) for row in ROWS))  # noqa: T201
