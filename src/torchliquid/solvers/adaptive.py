"""Adaptive solvers, with separate steps for each sample, by torchode (arXiv 2210.12375)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from torchliquid.errors import InputError
from torchliquid.torch_private import is_transformed, is_vmapped

ADAPTIVE = ("dopri5", "tsit5")
"""Names of the adaptive solvers: Dormand and Prince 1980; Tsitouras 2011. Both have order 5."""

MAX_STEPS = 10_000
"""Maximum number of steps within one span."""


class SolverError(InputError):
    """A solver failed: it needed too many steps, or its numbers became infinite or NaN."""


def adaptive(
    field: Callable[..., Tensor],
    state: Float[Tensor, "B H"],
    span: Float[Tensor, "B 1"],
    method: str,
    rtol: float = 1e-4,
    atol: float = 1e-6,
    adjoint: bool = False,
    drives: Sequence[Float[Tensor, "B ..."]] = (),
    weights: Sequence[Tensor] = (),
) -> Float[Tensor, "B H"]:
    """The state after a span, with steps whose estimated error stays within the tolerances.

    Each sample has its own steps, so the other samples of a batch do not change its result. Gradients are computed
    through the steps. With ``adjoint``, an ODE is solved backwards from the end instead (Pontryagin; arXiv 1806.07366),
    and the memory does not grow with the number of steps. The adjoint's error norm ignores the gradients of drives and
    weights (arXiv 2009.09457). If a span is many time constants long, the adjoint is inaccurate and raises an error.

    Args:
        field: rate of change, called as ``field(state, *drives, *weights)``.
        state: state before the span.
        span: one per sample, finite and not negative; 0 does not change the state.
        method: one of :data:`ADAPTIVE`.
        rtol, atol: the error of a step is at most ``atol + rtol * |state|``, as a root mean square over the neurons.
        adjoint: whether to compute gradients by the adjoint. They reach state, span, drives and weights, but no other
            tensor that the field uses.
        drives: arguments of the field with one row per sample, constant within the span.
        weights: arguments of the field that all samples share.

    Raises:
        InputError: the method is unknown, a tolerance is not positive, or torchode is not installed.
        InputError: in ``torch.func.vmap``, in any transform of ``torch.func`` with the adjoint, and in a trace or an
            export, because the number of steps depends on values.
        SolverError: a sample's solution is not finite or needs more than :data:`MAX_STEPS` steps, or the adjoint does
            not return to the state at the start of the span.
    """
    if method not in ADAPTIVE:
        raise InputError(f"an adaptive solver is {' or '.join(ADAPTIVE)}, not {method!r}")
    if not (rtol > 0 and atol > 0):
        raise InputError(f"rtol and atol must be greater than 0, not {rtol} and {atol}")
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined]
    if tracing or (torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()):
        raise InputError(f"the steps of {method} depend on values and can't be traced or exported; take euler or rk4")
    transformed = is_transformed()
    if adjoint and transformed:
        raise InputError(f"the adjoint of {method} knows no torch.func transform: take adjoint=False, and no vmap")
    if transformed and is_vmapped(state, span, *drives, *weights):
        raise InputError(
            f"{method} can't run in torch.func.vmap, its steps depend on values: give the samples as a batch"
        )
    if state.shape[0] == 0:
        return state
    options = (method, rtol, atol)
    if adjoint and torch.is_grad_enabled():
        after: Tensor = _Adjoint.apply(field, options, len(drives), state, span, *drives, *weights)
    else:
        after = _solve(lambda v: span * field(v, *drives, *weights), state, *options, state.shape[1])
    return torch.where(span > 0, after, state)


def _solve(field: Callable[[Tensor], Tensor], state: Tensor, method: str, rtol: float, atol: float, n: int) -> Tensor:
    """Solve from time 0 to 1. The error norm covers the first ``n`` columns."""
    try:
        import torchode
    except ImportError:
        raise InputError(f"the solver {method} needs one more package: pip install 'torchliquid[solvers]'") from None
    term: Any = torchode.ODETerm(lambda _, v: field(v), with_stats=False)
    step = {"dopri5": torchode.Dopri5, "tsit5": torchode.Tsit5}[method](term)
    control = torchode.IntegralController(
        atol=atol, rtol=rtol, term=term, norm=lambda error: error[:, :n].square().mean(1).sqrt()
    ).to(state)
    loop = torchode.AutoDiffAdjoint(step, control, max_steps=MAX_STEPS, backprop_through_step_size_control=False)
    start = state.new_zeros(state.shape[0])
    problem = torchode.InitialValueProblem(state, start, torch.ones_like(start))
    solution = loop.solve(problem, term=term)
    after: Tensor = solution.ys[:, -1]
    if int(solution.status.max()) != 0 or not bool(torch.isfinite(after).all()):
        stuck = bool((solution.status == torchode.Status.REACHED_MAX_STEPS.value).any())
        reason = f"needs more than {MAX_STEPS} steps in one span" if stuck else "meets numbers that are not finite"
        advice = "loosen the tolerances or take the solver fused" if stuck else "check the inputs and the weights"
        raise SolverError(f"the solver {method} {reason} (rtol {rtol:g}, atol {atol:g}): {advice}")
    return after


class _Adjoint(torch.autograd.Function):
    """A solution whose gradient comes from the adjoint equations, solved separately for each sample."""

    @staticmethod
    def forward(
        ctx: Any,
        field: Callable[..., Tensor],
        options: tuple[str, float, float],
        n_drives: int,
        state: Tensor,
        span: Tensor,
        *reads: Tensor,
    ) -> Tensor:
        after = _solve(lambda v: span * field(v, *reads), state, *options, state.shape[1])
        ctx.field, ctx.options, ctx.n_drives = field, options, n_drives
        ctx.save_for_backward(state, after, span, *reads)
        return after

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        state, after, span, *reads = ctx.saved_tensors
        field, n = ctx.field, state.shape[1]
        over = (0,) * ctx.n_drives + (None,) * (len(reads) - ctx.n_drives)

        def one(v: Tensor, a: Tensor, *own: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
            def rate(v: Tensor, *own: Tensor) -> Tensor:
                rows = [r.unsqueeze(0) if dim == 0 else r for r, dim in zip(own, over, strict=True)]
                return field(v.unsqueeze(0), *rows)[0]

            made: Any = torch.func.vjp(rate, v, *own)
            return made[0], made[1](a)

        each: Callable[..., Any] = torch.func.vmap(one, in_dims=(0, 0, *over))

        def backwards(z: Tensor) -> Tensor:
            rate, (in_state, *in_reads) = each(z[:, :n], z[:, n : 2 * n], *reads)
            return span * torch.cat([-rate, in_state, *(g.flatten(1) for g in in_reads)], 1)

        sizes = [(r.numel() // len(state) if dim == 0 else r.numel()) for r, dim in zip(reads, over, strict=True)]
        start = torch.cat([after, grad, grad.new_zeros(len(state), sum(sizes))], 1)
        method, rtol, atol = ctx.options
        begun = _solve(backwards, start, method, rtol, atol, 2 * n)
        v, a, *found = begun.split([n, n, *sizes], 1)
        if not bool(((v - state).abs() <= max(rtol**0.5, 1e-3) * (state.abs() + 1)).all()):
            raise SolverError(
                f"the adjoint of {method} does not find back to where the span began "
                f"(off by {float((v - state).abs().max()):.2g}): tighten rtol and atol, or leave adjoint out"
            )
        grads = [
            g.view_as(r) if dim == 0 else g.sum(0).view_as(r) for g, r, dim in zip(found, reads, over, strict=True)
        ]
        in_span = (grad * field(after, *reads)).sum(1, keepdim=True)  # a . f is constant along a solution
        return None, None, None, a, in_span, *grads
