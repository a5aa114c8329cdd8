"""Ablation: does a change of the data recipe make better models? The same training on each, several seeds, a verdict."""
