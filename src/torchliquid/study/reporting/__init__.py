"""What readers see: the page, its charts and its tables."""
