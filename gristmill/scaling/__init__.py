"""Scaling: a ladder of small models, the law through them, and what it says about larger ones."""
