"""devloop: knows which Dockerfile step a save invalidates, and what to do about it."""

__version__ = "0.1.0"
