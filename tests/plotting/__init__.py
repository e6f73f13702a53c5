"""Tests of lib/plotting."""
