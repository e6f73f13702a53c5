"""Tests of the tools, and of the machine that they run on."""
