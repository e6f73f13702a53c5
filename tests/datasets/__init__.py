"""Tests of lib.datasets."""
