"""Benchmarks: a subject against a yardstick within one run, told as ratios."""
