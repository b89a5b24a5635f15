"""The design that all pages share: one file, light and dark, on a phone and with a keyboard, without a network."""

from torchliquid.page.charts import Figure
from torchliquid.page.document import Chart, Table, render, write_page

__all__ = ["Chart", "Figure", "Table", "render", "write_page"]
