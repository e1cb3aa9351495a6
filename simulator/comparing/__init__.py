"""Comparing two measurements: two commits, two results of benchmarks, two runs, or one scenario in two worlds."""
