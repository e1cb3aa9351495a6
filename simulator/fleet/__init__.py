"""Virtual machines, owners and agents: their requests, hardware load and clocks, as data and code without I/O."""
