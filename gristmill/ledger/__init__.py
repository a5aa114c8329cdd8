"""What runs cost: time, memory, bytes, energy and money of every stage, and plans by arithmetic."""
