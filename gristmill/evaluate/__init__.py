"""What a model is worth: numbers that compare across tokenizers, models and runs."""
