"""Dropout, written out: masks, layers, test-time rules, and the tools of the book around them."""
