"""A study at work: its trials, what is on disk, and what fits into a time."""
