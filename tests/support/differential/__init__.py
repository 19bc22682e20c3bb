"""Predictions held against a real engine: made-up projects, made-up edits, and a build after each of them."""
