"""Memory at the peak of encoders that others wrote, next to what samattn derives: a table of tests/README.md.

python -m tests.refresh memory

An inference forward of one image on the meta device, traced as the cross-check traces samattn's own stack: every
allocation rounded up to 512 bytes, attention kernels as CUDA chooses them. Weights and the input are left out; buffers
are not, as what one implementation keeps in a buffer another makes in each forward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers import SamHQVisionConfig, SamHQVisionModel, SamVisionConfig, SamVisionModel
from transformers.vision_utils import get_vision_position_ids

from samattn_cli import EncoderConfig, analyze, load_config
from samattn_cli.families.qwen2_5_vl.words import MERGE
from samattn_cli.stack.cuda import AsOnCuda
from samattn_cli.stack.encoder import image_for
from samattn_cli.stack.trace import PartTrace, Tracer
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.memory import weights_bytes
from samattn_cli.units import rounded
from tests.public import davit as public_davit
from tests.public import deep_encoder as public_deep_encoder
from tests.public import hiera as public_hiera
from tests.public import lw_detr as public_lw_detr
from tests.public import mask_units as public_mask_units
from tests.public import packed_vit as public_packed_vit
from tests.public import plain as public_plain
from tests.public import qwen2_5_vl as public_qwen2_5_vl
from tests.public import rf_detr as public_rf_detr
from tests.public import sam3 as public_sam3
from tests.public import swin as public_swin
from tests.public import swinir as public_swinir
from tests.public import vitdet as public_vitdet
from tests.public.segment_anything_encoder import official_encoder
from tests.support.implementations import implementation_of

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
    attention: str
    dtype: str = "float32"

    @property
    def config(self) -> EncoderConfig:
        """The encoder for samattn, with the implementation where samattn has it."""
        run = [f"run.attention={self.attention}", f"run.dtype={self.dtype}"]
        whose = implementation_of(self.preset, self.whose)
        return load_config(self.preset, [*run, f"implementation={whose}"])


ORIGINAL, OTHER = "segment-anything", "transformers"
ROWS = (
    Row("sam_vit_b", ORIGINAL, "eager"),
    Row("sam_vit_l", ORIGINAL, "eager"),
    Row("sam_vit_h", ORIGINAL, "eager"),
    Row("sam_vit_b", OTHER, "sdpa"),
    Row("sam_vit_b", OTHER, "sdpa", "bfloat16"),
    Row("sam_vit_b", OTHER, "eager"),
    Row("sam_vit_b", OTHER, "eager", "bfloat16"),
    Row("sam_vit_b", OTHER, "eager", "float16"),
    Row("sam_vit_h", OTHER, "sdpa"),
    Row("sam2_hiera_t", OTHER, "sdpa"),
    Row("sam2_hiera_t", OTHER, "eager"),
    Row("hiera_t", OTHER, "eager"),
    Row("sam3_vision", OTHER, "sdpa"),
    Row("sam3_vision", OTHER, "eager"),
    Row("deep_encoder", OTHER, "eager"),
    Row("vitdet_b", OTHER, "eager"),
    Row("swin_t", OTHER, "sdpa"),
    Row("swin_t", OTHER, "eager"),
    Row("swinv2_t", OTHER, "eager"),
    Row("swin2sr_classical_x2", OTHER, "eager"),
    Row("swin2sr_classical_x4", OTHER, "eager"),
    Row("florence2_base", OTHER, "sdpa"),
    Row("florence2_base", OTHER, "eager"),
    Row("florence2_base", OTHER, "sdpa", "float16"),
    Row("vit_b", OTHER, "sdpa"),
    Row("vit_b", OTHER, "eager"),
    Row("mae_b", OTHER, "sdpa"),
    Row("mae_b", OTHER, "eager"),
    Row("mae_b_pretrain", OTHER, "sdpa"),
    Row("qwen2_5_vl_vision", OTHER, "sdpa"),
    Row("qwen2_5_vl_vision", OTHER, "eager"),
    Row("minicpm_v_4_6", OTHER, "sdpa"),
    Row("minicpm_v_4_6", OTHER, "eager", "bfloat16"),
    Row("muse_glimmer", OTHER, "sdpa"),
    Row("muse_glimmer", OTHER, "eager", "bfloat16"),
    Row("rf_detr_base", OTHER, "sdpa"),
    Row("rf_detr_base", OTHER, "eager"),
    Row("lw_detr_tiny", OTHER, "sdpa"),
    Row("lw_detr_tiny", OTHER, "eager"),
    Row("lw_detr_large", OTHER, "sdpa"),
)


def _sam(config: EncoderConfig, attention: str) -> nn.Module:
    """SAM's vision encoder, or SAM-HQ's."""
    stage, is_hq = config.stages[0], config.neck == "sam_hq"
    settings = (SamHQVisionConfig if is_hq else SamVisionConfig)(
        image_size=config.image_size[0],
        hidden_size=stage.embed_dim,
        num_hidden_layers=stage.depth,
        num_attention_heads=stage.num_heads,
        mlp_dim=stage.mlp_dim,
        window_size=stage.window_size[0],
        global_attn_indexes=list(stage.global_attn_indexes),
        attn_implementation=attention,
    )
    return (SamHQVisionModel if is_hq else SamVisionModel)(settings).eval()


class Qwen(nn.Module):
    """Qwen2.5-VL's encoder with what it takes besides patches: on the host, where its code reads it."""

    def __init__(self, config: EncoderConfig, attention: str) -> None:
        super().__init__()
        with torch.device("cpu"):
            self.grids = public_qwen2_5_vl.grids_of(config)
            positions = get_vision_position_ids(self.grids, MERGE)
        self.inputs = (positions.to("meta"),)
        self.encoder = public_qwen2_5_vl.public_encoder(config, "meta", attention)

    def forward(self, image: torch.Tensor) -> Any:
        """As transformers calls it."""
        with torch.device("cpu"):
            return self.encoder(image, grid_thw=self.grids, position_ids=self.inputs[0])


def _under(model: nn.Module, attention: str) -> nn.Module:
    for module in model.modules():
        if hasattr(module, "config"):
            module.config._attn_implementation = attention
    return model


MAKE: dict[str, Callable[[EncoderConfig, str], nn.Module]] = {
    "sam": _sam,
    "sam2": lambda _, a: _under(public_hiera.model(**public_hiera.TRUNKS["sam2_hiera_t"]), a),
    "sam3": lambda c, a: public_sam3.public_encoder(c, "meta", a),
    "deep": lambda c, _: public_deep_encoder.DeepEncoder(c).eval(),
    "hiera": lambda c, _: public_mask_units.public_encoder(c),
    "vitdet": lambda c, _: public_vitdet.Public(c),
    "florence2": lambda c, a: _under(public_davit.public_encoder(c), a),
    "swin": lambda c, a: _under(public_swin.public_encoder(c), a),
    "swin2sr": lambda c, _: public_swinir.swin2sr(c),
    "swinv2": lambda c, _: public_swin.public_encoder(c),
    "vit": lambda c, a: _under(public_plain.official(c), a),
    "mae": lambda c, a: _under(public_plain.official(c), a),
    "qwen2": Qwen,
    "minicpm": lambda c, a: public_packed_vit.Public(c, "meta", a),
    "muse": lambda c, a: public_packed_vit.Public(c, "meta", a),
    "rf": lambda c, _: public_rf_detr.official(c),
    "lw": lambda c, _: public_lw_detr.official(c),
}
"""What makes transformers' encoder, by how presets begin; those that take no kernel have eager attention alone."""


def made(row: Row, config: EncoderConfig) -> nn.Module:
    """Their encoder."""
    if row.whose == ORIGINAL:
        return official_encoder(config, "meta")
    return MAKE[row.preset.partition("_")[0]](config, row.attention)


def _caches(model: nn.Module) -> list[Any]:
    """What its classes cache of forwards: SAM 3's have positions by shape, which each first forward makes."""
    held = (each for kind in {type(module) for module in model.modules()} for each in vars(kind).values())
    cells = (
        cell for each in held for cell in getattr(getattr(each, "__func__", each), "__closure__", None) or ()
    )
    return [cell.cell_contents for cell in cells if hasattr(cell.cell_contents, "cache_clear")]


def public(row: Row) -> int:
    """Bytes at the peak of their encoder, buffers and activations."""
    mode, state_bytes = _traced(row, row.config)
    return state_bytes + max(mode.live)


def live_bytes(row: Row, config: EncoderConfig) -> list[int]:
    """Bytes of activations that live after each allocation of their encoder, for another size or batch than the row's."""
    return _traced(row, config)[0].live


def _traced(row: Row, config: EncoderConfig) -> tuple[PartTrace, int]:
    """A trace of their encoder, and the bytes of its state: buffers, its other inputs, what a first forward has cached."""
    dtype: torch.dtype = getattr(torch, row.dtype)
    with torch.device("meta"):
        model = made(row, config).to(dtype)
        image = image_for(config, "meta").to(dtype)
    state = [*model.buffers(), *getattr(model, "inputs", ())]
    state_bytes = sum(rounded(tensor.nbytes) for tensor in state)
    if caches := _caches(model):
        for cache in caches:
            cache.cache_clear()
        state_bytes += _forward(model, image, state).live
    return _forward(model, image, state)._part, state_bytes


def _forward(model: nn.Module, image: torch.Tensor, state: list[torch.Tensor]) -> Tracer:
    """Their forward, traced; what is live after it is cached."""
    mode = Tracer("meta", 0)
    mode.ignore(*model.parameters(), image, *state)
    with torch.no_grad(), AsOnCuda(), Plain(), mode:  # on no device by default: some make indexes on the host
        model(image)
    return mode


def derived(row: Row) -> int:
    """What samattn derives: the peak without weights and input."""
    passed = forward(row.config)
    buffers = sum(rounded(buffer.nbytes) for part in passed.segments for buffer in part.recording.buffers)
    before = weights_bytes(passed) - buffers + rounded(image_for(row.config, "meta").nbytes)
    return analyze(row.config, verify=False).totals.peak_bytes - before


def line(row: Row, theirs: float) -> str:
    """A line of the table, for `theirs` MiB."""
    ours = round(derived(row) / MIB, 2)
    figures = f"{theirs:,.2f} | {ours:,.2f} | {theirs / ours:.3f}"
    return f"| {row.preset} | {row.whose} | {row.attention} | {row.dtype} | {figures} |"


def lines() -> Iterator[str]:
    """All lines, traced now."""
    yield from (line(row, round(public(row) / MIB, 2)) for row in ROWS)
