"""Using a model: registration's settings, and talking to it."""
