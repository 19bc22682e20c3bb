"""The model of the build cache: keys, records, prediction."""
