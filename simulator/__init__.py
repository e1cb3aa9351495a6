"""The simulator: a fleet of virtual machines, attacks on a HatchFarm server, and the checkers that judge it."""
