"""The outside world behind the ports: clocks and entropy."""
