"""The former name of :mod:`torchliquid.datasets`, as scripts import it that earlier reports told people to write."""

import importlib
import sys

sys.modules[__name__] = importlib.import_module("torchliquid.datasets")
