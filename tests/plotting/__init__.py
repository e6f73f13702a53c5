"""Tests of lib.plotting."""
