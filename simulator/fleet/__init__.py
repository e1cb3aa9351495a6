"""One virtual provider machine and what surrounds it: hardware load, clocks. Data and sans-I/O code only."""
