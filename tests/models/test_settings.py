"""Every setting that a study may choose for a network: streamed, saved and exported like the defaults."""

from pathlib import Path

import numpy as np
import pytest
from tests.helpers.small import small_model, small_recording

from torchliquid import InputError, Model
from torchliquid.edge.network import describe
from torchliquid.models.build import assemble
from torchliquid.study.contenders import CONTENDERS

NETWORKS = [c for c in CONTENDERS if c.network]
TRAINING = ("lr", "batch_size", "weight_decay")


@pytest.mark.parametrize(
    ("kind", "setting", "value"),
    [(c.name, s, v) for c in NETWORKS for s, values in c.space.items() if s not in TRAINING for v in values[1:]],
)
def test_what_tuning_may_choose_answers_live_and_from_a_file_as_it_does_whole(kind, setting, value, tmp_path: Path):
    model, recording = small_model(kind, parameters=2500, **{setting: value}), small_recording()
    assert model.config[setting] == value
    assert abs(model.live_parameters() / 2500 - 1) < 0.15
    model.save(tmp_path / "m.safetensors")
    loaded = Model.load(tmp_path / "m.safetensors")
    for series, expected in zip(recording.series, model.outputs(recording), strict=True):
        live = loaded.live()
        gaps = np.diff(series.times, prepend=series.times[0])
        said = [live.step(v, g) for v, g in zip(series.values, gaps, strict=True)]
        np.testing.assert_allclose(said, expected, atol=2e-5)
    if kind not in ("transformer", "state_space", "grud"):  # of which there is no export
        assert describe(loaded).units > 0


@pytest.mark.parametrize(
    "kind", ["cfc", "cfc_ncp", "ltc", "ltc_ncp", "ctrnn", "neural_ode", "ctgru", "lrcssm", "ode_lstm"]
)
@pytest.mark.parametrize("name", ["return_sequences", "batch_first", "bidirectional", "num_layers"])
def test_how_a_layer_is_called_is_no_setting_of_a_kind(kind, name) -> None:
    with pytest.raises(InputError, match=f"a {kind} has no '{name}'; it has .*units"):
        small_model(kind, **{name: True})


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("cfc", name) for name in ("mode", "activation", "backbone_units", "backbone_layers", "backbone_dropout")),
        *(("lrcssm", name) for name in ("elastance", "solver", "block")),
        *((kind, "unfolds") for kind in ("ltc", "ltc_ncp", "ctrnn", "neural_ode", "ode_lstm")),
        *(("cfc_ncp", "mode"), ("ctgru", "scales")),
    ],
)
def test_a_setting_that_a_file_lacks_is_not_guessed(kind, name) -> None:
    model = small_model(kind)
    config = {setting: value for setting, value in model.config.items() if setting != name}
    with pytest.raises(InputError, match=f"a {kind} cannot be made with .*: {name} is missing"):
        assemble(kind, config, model.task, model.preprocessing)
