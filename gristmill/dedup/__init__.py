"""Deduplication and decontamination: the same words are not read twice, and never those of a benchmark."""
