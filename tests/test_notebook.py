"""What a notebook shows: whole tables with every text escaped; and the notebooks of the site run."""

from html.parser import HTMLParser
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from tests.helpers.needed import needs
from tests.helpers.small import small_model, small_recording
from tests.helpers.studies import Truth, simulate
from torchliquid import Recording
from torchliquid.data import Preprocessing
from torchliquid.models import Naive
from torchliquid.study.stats.verdict import with_verdict
from torchliquid.tasks import Task


class Cells(HTMLParser):
    """The texts of all cells; open tags must close, and a script may not be there."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert tag in ("table", "caption", "tr", "th", "td")
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.found.append(data)


def test_recordings_and_models_of_every_sort_show_what_they_are():
    recording = small_recording()
    cells = Cells(recording._repr_html_()).found
    size = f"70 samples in 3 series, usually {recording.median_gap():.4g} ms apart"
    assert size in cells
    assert repr(recording) == f"<Recording: {size}; channels a, b, c; target {recording.target}>"
    assert "a, b, c" in cells
    model = small_model("cfc_ncp")
    cells = Cells(model._repr_html_()).found
    assert "Model of kind cfc_ncp" in cells
    assert f"{model.live_parameters():,}" in cells
    task = Task("classification", "step", "target").fit(recording)
    assert Cells(Naive.fit(task, Preprocessing.fit(recording), recording)._repr_html_()).found


def test_names_from_a_file_are_text_and_many_are_counted():
    values = np.random.default_rng(0).normal(size=(20, 40))
    recording = Recording.from_arrays(values, channels=["<script>alert(1)</script>", *map(str, range(39))])
    (channels,) = [cell for cell in Cells(recording._repr_html_()).found if "alert" in cell]
    assert channels.startswith("<script>alert(1)</script>, 0")
    assert channels.endswith("and 28 more")


def test_results_show_the_verdict_and_the_best_contender_first():
    results = with_verdict(*simulate(np.random.default_rng(0), Truth(naive=-3.0)))
    title, *cells = Cells(results._repr_html_()).found
    assert f": {results.verdict.answer}. {results.verdict.sentence}" in title
    rows = np.reshape(cells, (-1, 4))
    assert len(rows) == 1 + len(results.competing)
    assert rows[1, 0] == max(results.competing, key=lambda c: c.validation).label
    assert rows[-1, 0] == "Naive"


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[1] / "docs/notebooks").glob("*.ipynb")), ids=lambda path: path.stem
)
def test_notebooks_run_and_show_what_their_cells_give(path: Path, tmp_path: Path):
    if path.stem == "device":
        needs("qemu-system-arm")
    stored = nbformat.read(path, as_version=4)
    run = NotebookClient(nbformat.from_dict(stored), timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    for old, new in zip(stored.cells, run.execute().cells, strict=True):
        assert {out.output_type for out in old.get("outputs", ())} == {
            out.output_type for out in new.get("outputs", ())
        }
