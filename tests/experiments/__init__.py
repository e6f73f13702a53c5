"""Tests of lib.experiments."""
