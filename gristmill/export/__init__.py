"""A finished checkpoint in the formats that others read: a Hugging Face folder, GGUF, and GGUF with fewer bits."""
