"""People judge answers in a browser: the queue, the page, the log of judgements, and what becomes of them."""
