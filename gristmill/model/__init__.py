"""The shape of a language model, and how it is built before its first training step."""
