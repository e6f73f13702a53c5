"""What the derivations say, computed in NumPy: one module a subject."""
