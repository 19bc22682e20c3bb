"""What devloop remembers between runs: one SQLite file under the user's state directory."""
