"""File events to batches: what changed, and when the tree is quiet enough to act on it."""
