"""The papers' tables, rerun by one command each: ``torchliquid reproduce NAME``."""
