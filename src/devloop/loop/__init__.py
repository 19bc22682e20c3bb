"""The session: messages, the state machine and the thread that drives it."""
