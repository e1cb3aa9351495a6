"""Those who vouch for people and agents, as they really are: over HTTP, with what they document."""
