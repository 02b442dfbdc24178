"""Plain vision transformers over token sequences: ViT's blocks, MAE's masking and decoder.

Sources: timm, models/vision_transformer.py and layers/attention.py, for projections, order and lifetimes (its unfused
attention scales the queries; in 0.3.2, with which MAE was released, it scales the scores); facebookresearch/mae,
models_mae.py, for masking and decoder. Names are theirs. MAE's forward_decoder and forward keep some tensors until their end.
Here these are passed on to the prediction, so that they live as long. The class token with its position, a few bytes that
forward_encoder keeps, is not. Shapes: B batch, N tokens, L patches, C width, h heads, d = C / h.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...encoder.plan import LayerConfig, PartConfig
from ...stack.norms import NORM_EPS
from .axial_stack import BLOCKS as AXIAL
from .axial_stack import POS_EMBEDS as PREFIX
from .layer_scale_stack import LayerScale
from .mlps_stack import MLPS, MakesMlp, quick_gelu
from .rotary_stack import Block as RotaryBlock
from .rotary_stack import RotaryTokens
from .tokens_stack import POS_EMBEDS as TOKENS
from .words import visible

CLIP_NORM_EPS = 1e-5


class Block(nn.Module):
    """Pre-norm block: attention over all tokens, then an MLP, each with its shortcut.

    Args:
        layer: its config.
        kernel: "eager", "sdpa" or "fused", which is sdpa since there are no relative positions.
        mlp: makes the MLP; by default that of the stage.
        eps: of the norms.
    """

    def __init__(
        self, layer: LayerConfig, kernel: str, *, mlp: MakesMlp | None = None, eps: float = NORM_EPS
    ) -> None:
        super().__init__()
        stage = layer.stage
        self.norm1 = nn.LayerNorm(stage.embed_dim, eps=eps)
        self.attn = Attention(stage.embed_dim, stage.num_heads, qkv_bias=stage.qkv_bias, kernel=kernel)
        self.ls1 = LayerScale(stage.embed_dim) if stage.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(stage.embed_dim, eps=eps)
        self.mlp = (mlp or MLPS[stage.mlp])(stage.embed_dim, stage.mlp_dim)
        self.ls2 = LayerScale(stage.embed_dim) if stage.layer_scale else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, dim: int, num_heads: int, *, qkv_bias: bool, kernel: str) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.kernel = kernel
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        B, N, C = x.shape
        # (B, N, 3C) -> (B, N, 3, h, d) -> (3, B, h, N, d)
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if self.kernel == "eager":
            q = q * self.scale
            attn = q @ k.transpose(-2, -1)  # (B, h, N, N)
            attn = attn.softmax(dim=-1)
            x = attn @ v
        else:
            x = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        x = x.transpose(1, 2).reshape(B, N, C)
        return self.proj(x)


class Masking(nn.Module):
    """MAE: adds fixed positions, masks patches at random, puts a class token first."""

    lets_go = True

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        (H, W), C = part.entering.grid, part.entering.dim
        self.visible = visible(part.config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, C))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + H * W, C), requires_grad=False)

    def forward(self, entering: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """(B, H, W, C) -> (B, 1 + visible, C), the order that restores the patches and the mask: (B, L), each."""
        x = entering.pop().flatten(1, 2) + self.pos_embed[:, 1:]
        x, mask, restore = random_masking(x, self.visible)
        token = self.cls_token + self.pos_embed[:, :1]
        x = torch.cat((token.expand(x.shape[0], -1, -1), x), dim=1)
        return x, restore, mask


def random_masking(x: Tensor, staying: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draws the patches (B, L, C) that stay in each image; returns them, the mask (0: stays) and the restoring order."""
    B, L, C = x.shape
    noise = torch.rand(B, L, device=x.device)
    shuffle = torch.argsort(noise, dim=1)
    restore = torch.argsort(shuffle, dim=1)
    keep = shuffle[:, :staying]
    masked = torch.gather(x, dim=1, index=keep.unsqueeze(-1).repeat(1, 1, C))
    mask = torch.ones(B, L, device=x.device)
    mask[:, :staying].fill_(0)  # an assignment of 0 upsets the tracer of fvcore
    mask = torch.gather(mask, dim=1, index=restore)
    return masked, mask, restore


class MaeDecoder(nn.Module):
    """MAE's transition to its decoder: norm, linear layer, mask tokens, patches in order again, fixed positions."""

    lets_go = True

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        (H, W), dim = part.leaving.grid, part.leaving.dim
        self.norm = nn.LayerNorm(part.entering.dim, eps=NORM_EPS)
        self.decoder_embed = nn.Linear(part.entering.dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.decoder_pos_embed = nn.Parameter(torch.zeros(1, 1 + H * W, dim), requires_grad=False)

    def forward(self, entering: list[Tensor], restore: Tensor, _mask: Tensor) -> tuple[Tensor, ...]:
        """(B, 1 + visible, C) -> (B, 1 + L, D), and the tensors that the public code keeps until its end."""
        latent = self.norm(entering.pop())
        x = self.decoder_embed(latent)
        B, N, D = x.shape
        mask_tokens = self.mask_token.repeat(B, restore.shape[1] + 1 - N, 1)
        patches = torch.cat([x[:, 1:], mask_tokens], dim=1)
        patches = torch.gather(patches, dim=1, index=restore.unsqueeze(-1).repeat(1, 1, D))
        x = torch.cat([x[:, :1], patches], dim=1)
        x = x + self.decoder_pos_embed
        return x, latent, mask_tokens, patches


class MaePrediction(nn.Module):
    """MAE's prediction of the pixels of each patch."""

    lets_go = True

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        self.decoder_norm = nn.LayerNorm(part.entering.dim, eps=NORM_EPS)
        self.decoder_pred = nn.Linear(part.entering.dim, part.leaving.dim)

    def forward(self, entering: list[Tensor], *_kept: Tensor) -> Tensor:
        """(B, 1 + L, D) -> (B, L, p * p * in_chans)."""
        x = self.decoder_norm(entering.pop())
        x = self.decoder_pred(x)
        return x[:, 1:]


BLOCKS = {
    **AXIAL,
    "dinov3": RotaryBlock,
    "plain": Block,
    "clip": partial(Block, mlp=quick_gelu, eps=CLIP_NORM_EPS),
}
POS_EMBEDS = {**TOKENS, **PREFIX, "rotary": RotaryTokens, "mae": Masking}
TRANSITIONS = {"mae_decoder": MaeDecoder}
NECKS = {"mae_pred": MaePrediction}
