"""Tests with other people's models: `make test-models`."""
