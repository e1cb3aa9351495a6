"""The bundle, a run's folder of results: what judging the run again offline needs, and proof of being unaltered."""
