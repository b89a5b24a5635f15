"""The design of all pages: each is one file, light or dark, for phones and keyboards, and needs no network."""

from torchliquid.page.charts import Figure
from torchliquid.page.document import Chart, Table, render, write_page

__all__ = ["Chart", "Figure", "Table", "render", "write_page"]
