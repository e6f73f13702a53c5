"""Tests of lib/layers."""
