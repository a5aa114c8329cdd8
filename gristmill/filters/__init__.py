"""What a document is like (signals), and which documents go on (thresholds on them)."""
