"""Attribution: complete, and where the answer is known it is found."""

import os

import numpy as np
import pytest
import torch
from tests.helpers.liquid import CASES, model_of
from tests.helpers.small import small_model, small_recording

from torchliquid import InputError, Recording, TrainingConfig, explain, fit
from torchliquid.explain.attribution import _no_settings_made
from torchliquid.explain.neurons import used_part


@pytest.mark.parametrize(("kind", "options"), CASES)
@pytest.mark.parametrize("per", ["step", "series"])
def test_all_of_the_output_is_accounted_for(kind, options, per):
    model, recording = model_of(kind, per=per, **options), small_recording(per=per)
    before = [p.clone() for p in model.parameters()]
    found = explain.attribution(model, recording, lags=5, moments=9)
    assert found.completeness <= 0.05
    assert found.share.sum() + found.older == pytest.approx(1)
    assert found.noisy_share.sum() + found.noisy_older == pytest.approx(1)
    assert found.share.shape == (3, len(found.lags)) == (3, len(found.lag_times))
    assert (np.diff(found.lag_times) > 0).all()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_model_that_looks_at_one_channel_is_seen_to_do_so():
    """Its other inputs are cut off by hand: what moved the output can only be b."""
    model = small_model("ltc_ncp")
    cell = model.network.layer.rnn_cell
    with torch.no_grad():
        of_b = torch.isin(cell.sensory_index[0], torch.tensor([1, 4]))  # the reading and its mask
        cell.sensory_w[~of_b] = -50.0
    found = explain.attribution(model, small_recording(), lags=8)
    by_channel = found.share.sum(1) / found.share.sum()
    assert by_channel[1] > 0.999


def test_a_held_reading_counts_where_it_was_taken():
    recording = small_recording(lengths=(60,), holes=0.0)
    values = recording.series[0].values
    values[4:, 0] = np.nan  # the last reading of a stands 60 - 3 samples before the end
    model = small_model("cfc")
    last = explain.attribution(model, recording, lags=60, moments=1, noise=0.0)
    assert last.share[0, :56].sum() < 1e-6
    assert last.share[0, 56:].sum() > 0
    short = explain.attribution(model, recording, lags=20, noise=0.0)
    assert short.share[0, :16].sum() < 1e-6
    assert short.older > 0
    assert short.alike == pytest.approx(1)


def test_the_known_channel_and_lag_are_found():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 3))
    y = np.roll(x[:, 1], 3)
    y[:3] = np.nan
    recording = Recording.from_arrays(x, np.arange(4000) * 0.5, y, ["a", "b", "c"], time_unit="h")
    model = fit(recording, kind="cfc", parameters=900, config=TrainingConfig(epochs=15))
    assert model.task.metrics(model.outputs(recording), recording)["rmse"] < 0.7
    found = explain.attribution(model, recording, lags=16)
    assert np.unravel_index(found.share.argmax(), found.share.shape) == (1, 3)
    assert found.share[1, 3] > 0.3
    assert found.lag_times[3] == pytest.approx(1.5)
    assert found.alike > found.alike_by_chance
    quiet, loud = (explain.attribution(model, recording, lags=16, noise=noise) for noise in (1e-4, 3.0))
    assert quiet.alike > 0.999
    assert quiet.answers_kept == 1
    assert loud.alike < found.alike
    assert loud.answers_kept < found.answers_kept < 1


def test_long_recordings_are_thinned_out():
    model = small_model("cfc")
    some = used_part(model, small_recording(lengths=(40,) * 50), 400)
    assert [s.name for s in some.series][::9] == ["0", "49"]
    assert some.n_samples == 400
    assert [len(s) for s in used_part(model, small_recording(lengths=(100, 300)), 200).series] == [50, 150]


def test_bad_input_is_refused():
    recording = small_recording()
    with pytest.raises(InputError, match="not a model of kind 'transformer'"):
        explain.attribution(small_model("transformer"), recording)
    with pytest.raises(InputError, match="lags and moments must be 1 or more"):
        explain.attribution(small_model("cfc"), recording, lags=0)


def test_captum_is_imported_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR"):
        monkeypatch.delenv(name, raising=False)

    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    with _no_settings_made():
        assert "MPLCONFIGDIR" not in os.environ  # matplotlib takes a temporary folder then
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    with _no_settings_made():
        assert os.environ["MPLCONFIGDIR"] == "/cache/torchliquid/matplotlib"
    assert "MPLCONFIGDIR" not in os.environ
