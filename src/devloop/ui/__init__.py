"""Views of one stream of events: live, plain lines, JSON lines."""
