"""The papers' tables, each repeated by one command: ``torchliquid reproduce NAME``."""
