"""Tests of the pages and notebooks of the book."""
