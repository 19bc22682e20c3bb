"""The build context: what a builder may see, what of it a step takes, and what an edit changes."""
