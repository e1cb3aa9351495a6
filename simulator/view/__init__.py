"""The live view of a run: in place on a terminal, in lines elsewhere, and as metrics while it lasts."""
