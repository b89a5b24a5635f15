"""Whether a part of a layer is defined by its weights, so that a kernel may read them instead of calling it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from torchliquid.errors import InputError

WEIGHT_HOOKS = (BasePruningMethod, SpectralNorm, WeightNorm)
"""Hooks that only set a weight before a call; :func:`refresh` runs them."""


def refresh(module: nn.Module) -> None:
    """Set the weights that hooks compute: those of pruning, and of the older ``weight_norm`` and ``spectral_norm``."""
    for part in module.modules():
        for hook in part._forward_pre_hooks.values():
            if isinstance(hook, WEIGHT_HOOKS):
                hook(part, ())


def is_called(module: nn.Module) -> bool:
    """Whether calling a module does more than its class: it has hooks, or a ``forward`` of its own."""
    before = module._forward_pre_hooks.values()
    others = (module._forward_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(others) or "forward" in module.__dict__ or any(not isinstance(hook, WEIGHT_HOOKS) for hook in before)


def says_all(module: nn.Module, *plain: type[nn.Module]) -> bool:
    """Whether a module is defined by its weights. Weights that hooks compute are set first."""
    if not module._forward_pre_hooks and _is_untouched(module, plain):
        return True  # the usual case, and fast
    refresh(module)
    return not any(odd_parts(module, *plain))


def _is_untouched(module: nn.Module, plain: tuple[type[nn.Module], ...]) -> bool:
    for name, part in module._modules.items():
        if part is None or type(part) not in plain or part._forward_pre_hooks:
            return False
        if part._parameters.get("bias", part) is None and name != "recurrent_map":
            return False
        if is_called(part) or (part._modules and not _is_untouched(part, plain)):
            return False
    return True


def odd_parts(module: nn.Module, *plain: type[nn.Module]) -> Iterator[str]:
    """Names and classes of parts that are not of these classes or must be called; parametrised weights are allowed."""
    for name, part in module.named_children():
        if name == "parametrizations" and parametrize.is_parametrized(module):
            continue
        kind = type(part).__mro__[1] if parametrize.is_parametrized(part) else type(part)
        biasless = kind is nn.Linear and part.bias is None and name != "recurrent_map"
        if kind not in plain or is_called(part) or biasless:
            yield f"{name} ({type(part).__module__}.{type(part).__name__}{', with hooks' if is_called(part) else ''})"
        else:
            yield from (f"{name}.{inner}" for inner in odd_parts(part, *plain))


def masked(part: nn.Module, mask: Tensor, name: str, x: Tensor) -> Tensor:
    """Call a linear map, with its hooks, with some of its weights set to zero.

    Raises:
        InputError: the part is not a linear map with a weight of its own.
    """
    if not isinstance(part, nn.Linear) or "weight" not in part._parameters:
        raise InputError(
            f"{name} is a {type(part).__name__}, and a wiring's mask needs a plain nn.Linear there: "
            "put it around the whole layer, or take a layer without a wiring"
        )
    return torch.func.functional_call(part, {"weight": part.weight * mask}, (x,))


def dtype_of(module: nn.Module) -> torch.dtype:
    """The dtype of a module's weights, wherever replicas, shards and quantised modules keep them; without any, the
    default."""
    plain = torch.compiler.is_compiling()  # PyTorch 2.7 cannot compile vars() of a module
    for part in module.modules():
        for value in (*part._parameters.values(), *(() if plain else vars(part).values())):
            if isinstance(value, Tensor) and value.is_floating_point():
                return value.dtype
    return torch.get_default_dtype()
