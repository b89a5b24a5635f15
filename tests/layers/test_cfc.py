"""What is the CfC's own: dropout, what counts as live, where it starts."""

import pytest
import torch
from tests.helpers.layers import INPUTS

from torchliquid import CfC, CfCCell, InputError, WiredCfCCell
from torchliquid.wirings import NCP, AutoNCP


@pytest.mark.parametrize("layers", [1, 3])
def test_dropout_acts_after_every_hidden_layer(layers):
    torch.manual_seed(0)
    layer = CfC(INPUTS, 4, backbone_units=200, backbone_layers=layers, backbone_dropout=0.4)
    x = torch.randn(3, 50, INPUTS)
    masks = layer.rnn_cell.dropout_masks(x)
    assert [m.shape for m in masks] == [(3, 50, 200)] * layers
    for mask in masks:
        assert mask.unique().tolist() == [0.0, pytest.approx(1 / 0.6)]
        assert abs(mask.mean() - 1) < 0.03
    torch.manual_seed(1)
    first = layer(x)[0]
    assert not torch.equal(layer(x)[0], first)
    torch.manual_seed(1)
    assert torch.equal(layer(x)[0], first)
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])
    assert layer.rnn_cell.dropout_masks(x) == []


def test_what_dropout_takes_away_has_no_part_in_the_step():
    """With the hidden units dropped, the heads see only their biases."""
    cell = CfCCell(2, 3, backbone_units=4, backbone_dropout=0.999999)
    torch.manual_seed(0)
    output, _ = cell(torch.randn(2, 2), torch.randn(2, 3), 1.0)
    s = torch.sigmoid(cell.time_a.bias + cell.time_b.bias)
    expected = (1 - s) * torch.tanh(cell.ff1.bias) + s * torch.tanh(cell.ff2.bias)
    torch.testing.assert_close(output, expected.expand(2, 3))


@pytest.mark.parametrize("mode", ["default", "no_gate", "pure"])
@pytest.mark.parametrize("mixed", [False, True])
def test_live_parameters_are_those_that_move_the_output(mode, mixed):
    torch.manual_seed(0)
    layer = CfC(INPUTS, NCP(6, 5, 2, 2, 2, 3, 2), 2, mode=mode, mixed_memory=mixed).double()
    layer(torch.randn(4, 8, INPUTS).double(), None, torch.rand(4, 8))[0].sum().backward()
    moved = sum(int(p.grad.count_nonzero()) for p in layer.parameters())
    assert layer.live_parameters() == moved < sum(p.numel() for p in layer.parameters())
    plain = CfC(INPUTS, 5, mode=mode, mixed_memory=mixed)
    assert plain.live_parameters() == sum(p.numel() for p in plain.parameters())


def test_masked_weights_play_no_part():
    cell = WiredCfCCell(INPUTS, AutoNCP(9, 2))
    x, h = torch.randn(2, INPUTS), torch.randn(2, 9)
    before = cell(x, h)[1]
    with torch.no_grad():
        for part in cell.cells:
            part.ff1.weight[part.sparsity_mask == 0] = 1e6
            part.ff2.weight[part.sparsity_mask == 0] = -1e6
    assert torch.equal(cell(x, h)[1], before)


def test_a_pure_cfc_starts_where_its_time_constant_can_learn():
    cell = CfCCell(2, 6, "pure")
    cell(torch.randn(3, 2), torch.randn(3, 6), 1.0)[0].sum().backward()
    assert cell.w_tau.grad.count_nonzero() == 6


def test_masks_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"sparsity_mask must have shape \(7, 4\)"):
        CfCCell(3, 4, backbone_layers=0, sparsity_mask=torch.ones(4, 7).numpy())
    with pytest.raises(InputError, match="needs backbone_layers=0"):
        CfCCell(3, 4, sparsity_mask=torch.ones(7, 4).numpy())
