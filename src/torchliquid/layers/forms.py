"""Check the arguments of a layer and convert them to one form: batch first, one span per sample."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from torchliquid.errors import InputError
from torchliquid.tracing import values_are_hidden

State = Tensor | tuple[Tensor, Tensor]
"""h (B, H), or with mixed memory (h, c)."""


def check_tensor(name: str, value: object) -> None:
    """Raise an error if a value is not a tensor, such as a list or a NumPy array."""
    if not isinstance(value, Tensor):
        raise InputError(f"{name} must be a tensor, not {type(value).__name__}; use torch.as_tensor")


def check_flags(name: str, flags: Tensor, shape: tuple[int, ...]) -> None:
    """Raise an error if a value is not a bool tensor of this shape."""
    check_tensor(name, flags)
    if flags.shape != shape or flags.dtype != torch.bool:
        raise InputError(f"{name} is {_name(flags.dtype)} {tuple(flags.shape)}; bool {tuple(shape)} is needed")


def check_input(input: Tensor, dims: tuple[int, int], input_size: int, dtype: torch.dtype) -> None:
    """Check the number of features, of dimensions (``dims``: unbatched, batched) and the dtype of the input."""
    check_tensor("input", input)
    if input.dim() not in dims or input.shape[-1] != input_size:
        one = f"(time, {input_size})" if dims[0] == 2 else f"({input_size},)"
        raise InputError(
            f"input has shape {tuple(input.shape)}; this layer needs {one}, or one more dimension for a batch"
        )
    if 0 in input.shape[-2 if dims[0] == 2 else -1 :]:
        raise InputError(f"input has shape {tuple(input.shape)}, which is empty")
    if input.dtype != dtype:
        layer = f" or layer.to(torch.{_name(input.dtype)})" if input.is_floating_point() else ""
        raise InputError(
            f"input is {_name(input.dtype)} and the layer is {_name(dtype)}: call input.to(torch.{_name(dtype)}){layer}"
        )


def under_autocast(input: Tensor) -> bool:
    """Whether autocast is on for the device of the input."""
    kind = input.device.type
    return kind in ("cpu", "cuda") and torch.is_autocast_enabled(kind)


def in_dtype(hx: State | None, dtype: torch.dtype) -> State | None:
    """Convert the state to another dtype."""
    if isinstance(hx, tuple):
        return tuple(part.to(dtype) for part in hx)  # type: ignore[return-value]
    return hx.to(dtype) if isinstance(hx, Tensor) else hx


def spans_of(
    timespans: Tensor | float | None, x: Float[Tensor, "B T C"], batched: bool, batch_first: bool = True
) -> Float[Tensor, "B T"]:
    """A span for each sample; for the forms of ``timespans`` see :meth:`RecurrentLayer.forward`."""
    batch, time = x.shape[:2]
    if timespans is None:
        return x.new_ones(batch, time)
    if isinstance(timespans, (int, float)) and not 0 <= timespans < math.inf:
        raise InputError(f"timespans is {timespans:g}; spans are finite and not negative")
    if not isinstance(timespans, Tensor):
        try:
            timespans = torch.as_tensor(timespans)
        except (TypeError, ValueError, RuntimeError):
            raise InputError(f"timespans must be a number or a tensor, not this {type(timespans).__name__}") from None
    if timespans.is_complex() or timespans.dtype == torch.bool:
        raise InputError(f"timespans must be elapsed times, not {_name(timespans.dtype)}")
    spans = timespans.to(x)
    per_sample = ((batch, time) if batch_first else (time, batch)) if batched else (time,)
    for_all = (time, 1) if batched and not batch_first else (1, time)
    if spans.dim() > 1 and spans.shape[-1] == 1 and spans.shape[:-1] in (per_sample, for_all):
        spans = spans.squeeze(-1)
    if spans.shape in (per_sample, for_all):
        spans = spans.reshape(1, time) if not batched else spans if batch_first else spans.transpose(0, 1)
    elif batched and spans.shape == (batch,):
        if batch == time > 1:
            raise InputError(
                f"timespans of shape ({batch},) may be per sequence or per sample, since there are as many of both; "
                f"give {per_sample}, or {for_all} for the same spans in all sequences"
            )
        spans = spans.unsqueeze(1)
    elif spans.dim() > 0:
        one = f", per sequence ({batch},), for all sequences {for_all}" if batched else ""
        raise InputError(
            f"timespans have shape {tuple(spans.shape)}; a number{one} or per sample {per_sample} is needed"
        )
    return spans.expand(batch, time)


def checked_spans(
    spans: Float[Tensor, "B T"], batched: bool, lengths: Int[Tensor, " B"] | None = None
) -> Float[Tensor, "B T"]:
    """Check spans, and on a GPU lengths.

    Reading values would make the CPU wait for a GPU. There, invalid spans become NaN, and so does the sequence from
    there on. If values cannot be read at all, they must be valid.
    """
    if values_are_hidden(spans):
        return spans
    if type(spans) is not Tensor:
        spans = spans.as_subclass(Tensor)
    good = (spans >= 0) & (spans < torch.inf)
    if spans.device.type != "cpu":
        if lengths is not None:
            good = good & ((lengths >= 1) & (lengths <= spans.shape[1])).unsqueeze(1)
        return spans.masked_fill(~good, torch.nan)
    if not bool(good.all()):
        sequence, sample = (~good).nonzero()[0].tolist()
        where = f"[{sequence}, {sample}] (sequence {sequence}, sample {sample})" if batched else f"[{sample}]"
        raise InputError(f"timespans{where} is {float(spans[sequence, sample]):g}; spans are finite and not negative")
    return spans


def reset_of(
    reset: Tensor | None, x: Float[Tensor, "B T C"], batched: bool, batch_first: bool = True
) -> Bool[Tensor, "B T"] | None:
    """Where the state is set to zeros, batch first."""
    if reset is None:
        return None
    batch, time = x.shape[:2]
    check_flags("reset", reset, ((batch, time) if batch_first else (time, batch)) if batched else (time,))
    reset = reset.to(x.device)
    return reset.unsqueeze(0) if not batched else reset if batch_first else reset.transpose(0, 1)


def state_of(
    hx: State | None, x: Float[Tensor, "B T C"], units: int, mixed: bool, batched: bool, layers: int | None = None
) -> tuple[Float[Tensor, "*L B H"], Float[Tensor, "*L B H"] | None]:
    """The initial h, and with mixed memory c, of one or several layers; zeros if ``hx`` is None."""
    stacked = () if layers is None else (layers,)
    if hx is None:
        zeros = x.new_zeros(*stacked, x.shape[0], units)
        return zeros, zeros.clone() if mixed else None
    if isinstance(hx, tuple) != mixed:
        raise InputError(
            "with mixed memory hx must be a tuple (h, c), not a tensor" if mixed else "hx must be a tensor, not a tuple"
        )
    parts = hx if isinstance(hx, tuple) else (hx,)
    for part in parts:
        check_tensor("hx", part)
    want = (*stacked, x.shape[0], units) if batched else (*stacked, units)
    if len(parts) != 1 + mixed or any(part.shape != want for part in parts):
        shapes = " and ".join(str(tuple(part.shape)) for part in parts)
        raise InputError(f"hx has shape {shapes}; {'(h, c), each ' if mixed else ''}{want} is needed")
    if any(part.dtype != x.dtype for part in parts):
        raise InputError(f"hx is {_name(parts[0].dtype)} and the input is {_name(x.dtype)}; give both the same dtype")
    h, *c = (part if batched else part.unsqueeze(-2) for part in parts)
    return h, c[0] if c else None


def valid_of(lengths: Int[Tensor, " B"], x: Float[Tensor, "B T C"]) -> Bool[Tensor, "B T"]:
    """True for real samples, False in the padding."""
    batch, time = x.shape[:2]
    if lengths.shape != (batch,):
        raise InputError(f"lengths have shape {tuple(lengths.shape)}; one per sequence, ({batch},), is needed")
    if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
        raise InputError(f"lengths must be whole numbers, not {lengths.dtype}")
    looked_at = batch and lengths.device.type == "cpu" and not values_are_hidden(lengths)
    if looked_at and not bool(((lengths >= 1) & (lengths <= time)).all()):
        raise InputError(f"lengths are {int(lengths.min())} to {int(lengths.max())}; they must be 1 to {time}")
    return torch.arange(time, device=x.device) < lengths.unsqueeze(1)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
