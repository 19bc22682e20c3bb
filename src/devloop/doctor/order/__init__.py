"""The order of a stage: what its steps read of what was copied above them, and how a copy is moved."""
