"""gristmill: from a web crawl to a registered, aligned language model. Runs with neither Prefect nor MLflow."""

__version__ = "0.1.0"
