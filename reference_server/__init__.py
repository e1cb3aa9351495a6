"""The HatchFarm reference server: the whole control plane of the contract, on Trio."""
