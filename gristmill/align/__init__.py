"""From a base model to one that answers, and answers as preferred: SFT, reward model, DPO."""
