"""The decision: from a change set to a plan. All of it is pure."""
