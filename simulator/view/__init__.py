"""The live view of a run: redrawn in place on a terminal, printed as lines elsewhere, and served as metrics."""
