"""What MLflow holds after a row of chaos.py, read over REST."""

from typing import Any

import httpx


class Mlflow:
    """url: of a tracking server."""

    def __init__(self, url: str) -> None:
        self.client = httpx.Client(base_url=f"{url}/api/2.0/mlflow/", timeout=30)

    def faults(self, model: str) -> list[str]:
        """What is not as after one registration and one promotion."""
        found = self._get("model-versions/search", filter=f"name='{model}'").get("model_versions", [])
        if len(found) != 1:
            return [f"{len(found)} versions of {model}"]
        aliases = self._get("registered-models/get", name=model)["registered_model"].get("aliases", [])
        pointed = {alias["alias"]: alias["version"] for alias in aliases}
        wanted = dict.fromkeys(("challenger", "champion"), found[0]["version"])
        return [] if pointed == wanted else [f"aliases of {model}: {pointed}"]

    def steps_of(self, address: str, metric: str) -> list[int]:
        """Steps at which a metric stands in the newest run that built an artifact."""
        experiment = self._get("experiments/get-by-name", experiment_name="gristmill")["experiment"]["experiment_id"]
        asked = {
            "experiment_ids": [experiment],
            "filter": f"tags.`gristmill.artifact` = '{address}'",
            "order_by": ["attributes.start_time DESC"],
            "max_results": 1,
        }
        answer = self.client.post("runs/search", json=asked).raise_for_status().json()
        (newest,) = answer["runs"]
        history = self._get("metrics/get-history", run_id=newest["info"]["run_id"], metric_key=metric)
        return [int(point["step"]) for point in history.get("metrics", [])]

    def _get(self, path: str, **query: str) -> dict[str, Any]:
        return self.client.get(path, params=query).raise_for_status().json()
