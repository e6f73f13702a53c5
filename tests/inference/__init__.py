"""Tests of lib/inference."""
