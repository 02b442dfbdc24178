"""The line of code that runs an operation, in the libraries whose code people run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ...encoder.model import EncoderConfig
from ...encoder.registry import REFERENCE
from ...reports.oom import Frame


class Line(NamedTuple):
    """A line of code.

    Attributes:
        module: the file, from the folder of the package on.
        function: the function or method that the line is in.
        code: the line, without its indentation.
    """

    module: str
    function: str
    code: str


def _lines(module: str, lines: Mapping[tuple[str, str], Sequence[str]]) -> dict[str, Line]:
    """Lines of a file by the operations that they run, which are given by function and line."""
    return {
        op: Line(module, function, code)
        for (function, code), operations in lines.items()
        for op in operations
    }


SEGMENT_ANYTHING = _lines(
    "segment_anything/modeling/image_encoder.py",
    {
        ("PatchEmbed.forward", "x = self.proj(x)"): ["patch_embed.proj"],
        ("ImageEncoderViT.forward", "x = x + self.pos_embed"): ["pos_embed.add"],
        ("Block.forward", "x = self.norm1(x)"): ["norm1"],
        ("Block.forward", "x = shortcut + x"): ["add_attn"],
        ("Block.forward", "x = x + self.mlp(self.norm2(x))"): ["norm2", "add_mlp"],
        ("window_partition", "x = F.pad(x, (0, 0, 0, pad_w, 0, pad_h))"): ["pad"],
        (
            "window_partition",
            "windows = x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, window_size, window_size, C)",
        ): ["window_partition"],
        (
            "window_unpartition",
            "x = x.permute(0, 1, 3, 2, 4, 5).contiguous().view(B, Hp, Wp, -1)",
        ): ["window_unpartition"],
        ("window_unpartition", "x = x[:, :H, :W, :].contiguous()"): ["crop"],
        (
            "Attention.forward",
            "qkv = self.qkv(x).reshape(B, H * W, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)",
        ): ["attn.qkv"],
        (
            "Attention.forward",
            "q, k, v = qkv.reshape(3, B * self.num_heads, H * W, -1).unbind(0)",
        ): ["attn.split_heads"],
        ("Attention.forward", "attn = (q * self.scale) @ k.transpose(-2, -1)"): ["attn.scale", "attn.scores"],
        ("get_rel_pos", "return rel_pos_resized[relative_coords.long()]"): [
            "attn.rel_pos_h",
            "attn.rel_pos_w",
        ],
        ("add_decomposed_rel_pos", 'rel_h = torch.einsum("bhwc,hkc->bhwk", r_q, Rh)'): [
            "attn.rel_h_q",
            "attn.rel_h",
        ],
        ("add_decomposed_rel_pos", 'rel_w = torch.einsum("bhwc,wkc->bhwk", r_q, Rw)'): [
            "attn.rel_w_q",
            "attn.rel_w",
        ],
        (
            "add_decomposed_rel_pos",
            "attn.view(B, q_h, q_w, k_h, k_w) + rel_h[:, :, :, :, None] + rel_w[:, :, :, None, :]",
        ): ["attn.add_rel_h", "attn.add_rel_w"],
        ("Attention.forward", "attn = attn.softmax(dim=-1)"): ["attn.softmax"],
        (
            "Attention.forward",
            "x = (attn @ v).view(B, self.num_heads, H, W, -1).permute(0, 2, 3, 1, 4).reshape(B, H, W, -1)",
        ): ["attn.values", "attn.merge_heads"],
        ("Attention.forward", "x = self.proj(x)"): ["attn.proj"],
        ("ImageEncoderViT.forward", "x = self.neck(x.permute(0, 3, 1, 2))"): ["neck.0", "neck.2"],
    },
) | _lines(
    "segment_anything/modeling/common.py",
    {
        ("MLPBlock.forward", "return self.lin2(self.act(self.lin1(x)))"): ["mlp.lin1", "mlp.act", "mlp.lin2"],
        ("LayerNorm2d.forward", "u = x.mean(1, keepdim=True)"): ["neck.1.mean", "neck.3.mean"],
        ("LayerNorm2d.forward", "s = (x - u).pow(2).mean(1, keepdim=True)"): [
            f"neck.{place}.{op}" for place in (1, 3) for op in ("centre", "square", "variance")
        ],
        ("LayerNorm2d.forward", "x = (x - u) / torch.sqrt(s + self.eps)"): [
            f"neck.{place}.{op}" for place in (1, 3) for op in ("centre_again", "eps", "sqrt", "divide")
        ],
        ("LayerNorm2d.forward", "x = self.weight[:, None, None] * x + self.bias[:, None, None]"): [
            f"neck.{place}.{op}" for place in (1, 3) for op in ("weight", "bias")
        ],
    },
)
"""SAM's own image encoder."""

TRANSFORMERS_SAM = _lines(
    "transformers/models/sam/modeling_sam.py",
    {
        ("SamVisionAttention.forward", "attn_weights = (query * self.scale) @ key.transpose(-2, -1)"): [
            "attn.scale",
            "attn.scores",
        ],
        (
            "SamVisionAttention.get_decomposed_rel_pos",
            'rel_h = torch.einsum("bhwc,hkc->bhwk", reshaped_query, relative_position_height)',
        ): ["attn.rel_h_q", "attn.rel_h"],
        (
            "SamVisionAttention.get_decomposed_rel_pos",
            'rel_w = torch.einsum("bhwc,wkc->bhwk", reshaped_query, relative_position_width)',
        ): ["attn.rel_w_q", "attn.rel_w"],
        (
            "SamVisionAttention.get_decomposed_rel_pos",
            "decomposed_rel_pos = rel_h[:, :, :, :, None] + rel_w[:, :, :, None, :]",
        ): ["attn.add_rel"],
        ("SamVisionAttention.forward", "attn_weights = attn_weights + decomposed_rel_pos"): ["attn.add_bias"],
        (
            "SamVisionAttention.forward",
            "attn_weights = torch.nn.functional.softmax(attn_weights, dtype=torch.float32, dim=-1).to(query.dtype)",
        ): ["attn.softmax"],
        ("SamVisionAttention.forward", "attn_output = self.proj(attn_output)"): ["attn.proj"],
    },
)
"""SAM in transformers."""

TRANSFORMERS_QWEN2_5_VL = _lines(
    "transformers/models/qwen2_5_vl/modeling_qwen2_5_vl.py",
    {
        (
            "eager_attention_forward",
            "attn_weights = torch.matmul(query, key_states.transpose(2, 3)) * scaling",
        ): ["attn.scores", "attn.scale"],
        (
            "eager_attention_forward",
            "attn_weights = nn.functional.softmax(attn_weights, dim=-1, dtype=torch.float32).to(query.dtype)",
        ): ["attn.softmax", "attn.cast"],
        ("eager_attention_forward", "attn_output = torch.matmul(attn_weights, value_states)"): [
            "attn.values"
        ],
        ("eager_attention_forward", "attn_output = attn_output.transpose(1, 2).contiguous()"): [
            "attn.merge_heads"
        ],
        ("apply_rotary_pos_emb_vision", "q_embed = (q * cos) + (rotate_half(q) * sin)"): ["attn.rotate_q"],
        ("apply_rotary_pos_emb_vision", "k_embed = (k * cos) + (rotate_half(k) * sin)"): ["attn.rotate_k"],
        (
            "Qwen2_5_VLMLP.forward",
            "return self.down_proj(self.act_fn(self.gate_proj(hidden_state)) * self.up_proj(hidden_state))",
        ): ["mlp.gate_proj", "mlp.act_fn", "mlp.up_proj", "mlp.gate", "mlp.down_proj"],
        ("Qwen2_5_VLVisionAttention.forward", "attn_output = self.proj(attn_output)"): ["attn.proj"],
    },
)
"""The vision encoder of Qwen2.5-VL in transformers."""

LIBRARIES: Mapping[tuple[str, str], Mapping[str, Line]] = {
    ("vit", REFERENCE): SEGMENT_ANYTHING,
    ("vit", "transformers"): TRANSFORMERS_SAM,
    ("qwen2_5_vl", REFERENCE): TRANSFORMERS_QWEN2_5_VL,
    ("qwen2_5_vl", "transformers"): TRANSFORMERS_QWEN2_5_VL,
}
"""By the kind of blocks, and whose code runs. The reference of Qwen2.5-VL is that of transformers."""


def line_of(config: EncoderConfig, layer: str, op: str) -> Line | None:
    """The line that runs an operation, of the forward if it is one of the backward; None where it is not known."""
    blocks = {block.name: block.stage.block for block in config.layers}
    block = blocks.get(layer, config.stages[0].block)
    lines = LIBRARIES.get((block, config.implementation), {})
    name = op if layer in blocks else f"{layer}.{op}"
    while name:
        if name in lines:
            return lines[name]
        name = name.rpartition(".")[0]
    return None


def runs(frame: Frame, line: Line) -> bool:
    """Whether a call of a traceback is at a line."""
    code, wanted = ("".join(text.split()) for text in (frame.code, line.code))
    return bool(code) and (
        code == wanted or (frame.function == line.function.rpartition(".")[2] and code in wanted)
    )


def knows(config: EncoderConfig, frames: Sequence[Frame]) -> Line | None:
    """The line of the encoder that the innermost call of a traceback is at; None if that is not a known line of it."""
    for block in dict.fromkeys(stage.block for stage in config.stages):
        for line in LIBRARIES.get((block, config.implementation), {}).values():
            if frames and any(runs(frame, line) for frame in frames[-2:]):
                return line
    return None
