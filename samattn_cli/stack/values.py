"""Makes modules on the meta device without filling their weights: weights have no values there, and filling takes most of the time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

_FILL = {
    init.uniform_, init.normal_, init.trunc_normal_, init.kaiming_uniform_, init.kaiming_normal_,
    init.xavier_uniform_, init.xavier_normal_, init.constant_, init.ones_, init.zeros_,
    Tensor.uniform_, Tensor.normal_, Tensor.fill_, Tensor.zero_,
}  # fmt: skip
"""Functions that change the values of their first argument, and nothing else of it, and return it."""


class without_values(TorchFunctionMode):  # noqa: N801 - used as a function
    """Within this context, tensors on the meta device are not filled."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run `func`, or return the tensor that it would fill."""
        kwargs = kwargs or {}
        if func in _FILL:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        return func(*args, **kwargs)
