"""Ablation: does a data recipe make better models? The same training on each, several seeds, a verdict."""
