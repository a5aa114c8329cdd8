"""One run's story, from crawl to model, for someone who was not there; and two models or runs side by side."""
