"""Models that judge answers: asked, doubted, and put to use for preference pairs."""
