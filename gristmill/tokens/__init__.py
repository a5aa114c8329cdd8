"""From documents to training rows: mixture, tokenizer, packed shards of token ids."""
