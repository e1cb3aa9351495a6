"""The same for the simulator."""
def entries(): return {}
