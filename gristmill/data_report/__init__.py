"""What a run did to its pages, as numbers, as one HTML file and as Markdown."""
