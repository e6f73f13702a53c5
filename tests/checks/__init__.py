"""Tests of lib.checks: what students are told."""
