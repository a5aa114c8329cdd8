"""What a model gains by answering more than once, or by thinking longer, before it says its answer."""
