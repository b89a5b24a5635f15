"""From a study's scores to intervals, and from these to the verdict."""
