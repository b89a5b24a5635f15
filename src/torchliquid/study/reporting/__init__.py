"""What a person looks at: the page, its charts and its tables."""
