"""Two measurements side by side: two commits, two results of a benchmark or two runs, and which of them is slower."""
