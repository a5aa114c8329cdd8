"""Pretraining: a program that turns token shards into a Hugging Face model folder, and survives being killed."""
