"""Examples: instruction rows and preference pairs to train on, benchmark items to be judged by."""
