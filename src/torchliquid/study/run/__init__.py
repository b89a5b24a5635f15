"""Running a study: its trials, what is on disk, and what fits into a time limit."""
