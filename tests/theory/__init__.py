"""Tests of lib/theory."""
