"""From a history to a verdict: what is known, what must hold, what came of it."""
