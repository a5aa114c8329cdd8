"""Text: the document format, extraction from HTML, language identification."""
