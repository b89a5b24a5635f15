"""Gradients against finite differences, in double precision: of every input and parameter, once and twice."""

import pytest
import torch
from tests.helpers.layers import CASES, INPUTS, every_layer, parts, some, state
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call


def as_function(layer):
    names = [name for name, _ in layer.named_parameters()]
    mixed = layer.lstm is not None
    lengths = torch.tensor([3, 2])

    def run(x, spans, *rest):
        hx, values = (rest[:2], rest[2:]) if mixed else (rest[0], rest[1:])
        output, last = functional_call(layer, dict(zip(names, values, strict=True)), (x, hx, spans, lengths))
        return output, *parts(last)

    x = torch.randn(2, 3, INPUTS).double()
    spans = torch.rand(2, 3).double() + 0.1
    arguments = [x, spans, *parts(state(layer, 2, torch.float64)), *(p.detach() for p in layer.parameters())]
    return run, [a.requires_grad_() for a in arguments]


@every_layer
def test_gradients(make):
    run, arguments = as_function(some(make).double())
    assert gradcheck(run, arguments)


@pytest.mark.parametrize("name", ["ltc unmapped", "cfc", "cfc pure"])
def test_second_gradients(name):
    run, arguments = as_function(some(CASES[name]).double())
    assert gradgradcheck(run, arguments, atol=1e-4, fast_mode=True)


@pytest.mark.parametrize("name", ["ltc unmapped", "cfc memory"])
def test_second_gradients_in_single_precision(name):
    """The compiled kernels' gradient can be differentiated again."""
    layer = some(CASES[name])
    x = torch.randn(2, 3, INPUTS)

    def penalty(module, x):
        x = x.clone().requires_grad_()
        (grad,) = torch.autograd.grad(module(x)[0].square().sum(), x, create_graph=True)
        return torch.autograd.grad(grad.square().sum(), list(module.parameters()), allow_unused=True)

    single = penalty(layer, x)
    double = penalty(layer.double(), x.double())
    for a, b in zip(single, double, strict=True):
        if b is not None:
            torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-4)
