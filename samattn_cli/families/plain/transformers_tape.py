"""What transformers writes differently in the encoders of ViT and MAE; the rest is `tape.py`.

Source: transformers 5.23.0, models/vit/modeling_vit.py: ViTAttention, ViTLayer, eager_attention_forward, as in models/vit_mae;
integrations/sdpa_attention.py. Shapes: B batch, N tokens, C width, h heads, d = C / h.
"""

from __future__ import annotations

from collections.abc import Callable

from ...encoder.model import StageConfig
from ...encoder.plan import LayerConfig
from ...tape.kernels import attention as attention_kernel
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...units import ITEM_BYTES
from . import blocks_tape as reference

Bias = Callable[[], tuple[Tensor | None, ...]]
"""Makes what is added to the scores, (B, h, N, N) or one that broadcasts to it, then what the attention holds for that."""


def attention(
    tape: Tape, x: Tensor, stage: StageConfig, kernel: str, bias: Bias = lambda: (None,)
) -> tuple[Tensor, ...]:
    """A projection for each of queries, keys and values: (B, N, C) -> (B, N, C); eager probabilities are returned too."""
    (B, N, C), h = x.shape, stage.num_heads

    def heads(name: str) -> Tensor:
        """(B, h, N, d)."""
        return tape.linear(name, x, C, bias=stage.qkv_bias).view(B, N, h, C // h).transpose(1, 2)

    q, k, v = heads("q_proj"), heads("k_proj"), heads("v_proj")
    added, *held = bias()
    out, *returned = (eager if kernel == "eager" else sdpa)(tape, q, k, v, added)
    y = tape.contiguous("merge_heads", out.transpose(1, 2))
    tape.free(out, keep=y)
    result = tape.linear("o_proj", y.view(B, N, C), C)
    tape.free(y, q, k, v, *(each for each in held if each is not None))
    return result, *returned


def sdpa(tape: Tape, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, ...]:
    """Torch's scaled_dot_product_attention: (B, h, N, d)."""
    return (attention_kernel(tape, "sdpa", q, k, v, bias),)


def eager(tape: Tape, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> tuple[Tensor, ...]:
    """Attention that makes the score matrix, and its probabilities: (B, h, N, d)."""
    products = tape.scores(q, k, call="torch.matmul")  # (B, h, N, N)
    scores = tape.scale("scale", products)
    tape.free(products)
    if bias is not None:
        unbiased, scores = scores, tape.add("add_bias", scores, bias)
        tape.free(unbiased)
    wide = tape.softmax("softmax", scores, in_float32=scores.item_bytes != ITEM_BYTES["float32"])
    probabilities = tape.cast("cast", wide, q.item_bytes)
    tape.free(scores)
    tape.free(wide, keep=probabilities)
    return tape.matmul("values", probabilities, v, call="torch.matmul"), probabilities


def block(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str) -> Tensor:
    """Pre-norm block: (B, N, C) -> (B, N, C)."""
    tape.registers("attn", "norm1", "norm2", "mlp")
    return reference.block(tape, x, layer, kernel, attend=attention)


BLOCKS = {"plain": block}
