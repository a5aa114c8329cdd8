"""Crawl: sources become WARC files with a manifest; WARC files become records."""
