from typing import Any

import torch
from torch import Tensor

def optimized_attention(q: Any, k: Any, v: Any, heads: int, *args: Any, **kwargs: Any) -> Tensor: ...
def optimized_attention_masked(q: Any, k: Any, v: Any, heads: int, *args: Any, **kwargs: Any) -> Tensor: ...

class SpatialTransformer(torch.nn.Module):
    def __init__(
        self,
        in_channels: int,
        n_heads: int,
        d_head: int,
        depth: int = 1,
        dropout: float = 0.0,
        context_dim: int | list[int] | None = None,
        disable_self_attn: bool = False,
        use_linear: bool = False,
        use_checkpoint: bool = True,
        attn_precision: torch.dtype | None = None,
        dtype: torch.dtype | None = None,
        device: Any = None,
        operations: Any = ...,
    ) -> None: ...
    def __call__(self, x: Tensor, context: Tensor | None = None, transformer_options: dict[str, Any] = ...) -> Tensor: ...
