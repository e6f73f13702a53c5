"""Tests of lib/datasets."""
