"""The project on disk: where its files are, what the user configured, and the model read from them."""
