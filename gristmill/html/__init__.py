"""What all reports that are one HTML file have in common: shell, style, safe text, drawings."""
