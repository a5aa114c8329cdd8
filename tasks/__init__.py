"""The edge to Prefect and MLflow: one file a stage, each a typed signature and one domain call."""
