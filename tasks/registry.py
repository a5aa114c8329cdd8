"""The model registry in MLflow: read over its REST interface in milliseconds, written by MLflow's client.

So a run that reuses everything, and `plan`, import no MLflow.
"""

import json
import logging
import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gristmill.addresses import without_secrets
from gristmill.artifacts import Artifact
from gristmill.cards.cards import MODEL_CARD, Cards
from gristmill.errors import NotHere, SourceUnavailable
from gristmill.promotion.aliases import ARTIFACT, PROMOTED_OVER, unknown_champion
from tasks.tracking import MISSING, PASSING, ExplainedClient, MlflowFailed, explained, mlflow_client, parent_run_id

REQUIREMENTS = ("mlflow", "torch", "transformers", "tokenizers", "safetensors", "accelerate", "jinja2")
"""What a registered chat model needs to be loaded and asked."""


def model_versions(model: str) -> list[dict[str, Any]]:
    """All versions of a registered model with their tags as a dict; empty when there is no such model."""
    return list(_versions({"filter": f"name='{model}'"}))


def all_versions() -> list[dict[str, Any]]:
    """The versions of all registered models, as model_versions gives them."""
    return list(_versions({}))


def _versions(query: dict[str, str]) -> Iterator[dict[str, Any]]:
    page: dict[str, str] = {}
    while True:
        found = _get("model-versions/search", {**query, **page, "max_results": "200"})
        for version in found.get("model_versions", []):
            yield {**version, "tags": {tag["key"]: tag["value"] for tag in version.get("tags", [])}}
        if not found.get("next_page_token"):
            return
        page = {"page_token": found["next_page_token"]}


def version_by_alias(model: str, alias: str) -> dict[str, Any] | None:
    """The version an alias points to, or None."""
    found = _get("registered-models/alias", {"name": model, "alias": alias}).get("model_version")
    if found is None:
        return None
    return {**found, "tags": {tag["key"]: tag["value"] for tag in found.get("tags", [])}}


def aliases_of(model: str, version: str) -> list[str]:
    """The aliases that point to one version."""
    found = _get("registered-models/get", {"name": model}).get("registered_model", {})
    return sorted(alias["alias"] for alias in found.get("aliases", []) if str(alias["version"]) == version)


def champion_before(model: str, candidate: str) -> str | None:
    """The checkpoint that `candidate` has to beat: the champion's address, or None when there is no champion.

    When the candidate itself is champion, it is the one it was promoted over: asking again gives the same answer.
    Raises NotHere when gristmill did not register the champion.
    """
    champion = version_by_alias(model, "champion")
    if champion is None:
        return None
    artifact = champion["tags"].get(ARTIFACT)
    if not artifact:
        raise NotHere(unknown_champion(model, str(champion["version"])))
    return champion["tags"].get(PROMOTED_OVER) or None if artifact == candidate else artifact


def _get(path: str, query: dict[str, str]) -> dict[str, Any]:
    """GET from MLflow's REST interface; {} for 'does not exist'. Raises SourceUnavailable when nobody answers, NotHere
    when it is no MLflow that does, or it lets nobody in."""
    import httpx

    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri.startswith("http"):
        raise SourceUnavailable(
            "no MLflow server runs, so the registry cannot be asked; `gristmill run` starts one, `gristmill up` now"
        )
    shown = without_secrets(uri)
    try:
        answer = httpx.get(f"{uri.rstrip('/')}/api/2.0/mlflow/{path}", params=query, timeout=10, auth=_login())
    except httpx.InvalidURL:  # httpx repeats what it takes for the port, a part of the password
        raise NotHere(
            f"MLFLOW_TRACKING_URI={shown} is no address as it stands; write a / of its password as %2F"
        ) from None
    except httpx.HTTPError as error:
        raise SourceUnavailable(
            f"MLflow at {shown} does not answer ({type(error).__name__}); `gristmill up` starts it"
        ) from error
    said = _json_object(answer.text)
    if answer.status_code == 200 and said is not None:
        return said
    if answer.status_code in (400, 404) and (said or {}).get("error_code") in MISSING:
        return {}
    error = SourceUnavailable if answer.status_code in PASSING else NotHere
    raise error(f"MLflow at {shown} answered {answer.status_code} to {path}: {answer.text[:200]}")


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _login() -> tuple[str, str] | None:
    """User and password, where the server asks for them; MLflow's own client reads the same variables."""
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}") for name in ("USERNAME", "PASSWORD"))
    return (user, password) if user and password else None


def register_model(model: Artifact, cards: Cards, *, name: str) -> str:
    """Log a checkpoint as a chat model, register it under `name` with cards and tags, point `challenger` at it.

    Returns the version. A version already made from this checkpoint is used again, not doubled.
    """
    client = mlflow_client()
    known = [v for v in model_versions(name) if v["tags"].get(ARTIFACT) == model.address]
    version = str(max(int(v["version"]) for v in known)) if known else _log_chat_model(model, cards, name)
    for key, value in cards.tags.items():
        client.set_model_version_tag(name, version, f"gristmill.{key}", value)
    client.update_model_version(name, version, description=cards.summary)
    logged = client.get_model_version(name, version).source.removeprefix("models:/")
    with TemporaryDirectory() as folder:
        cards.write(Path(folder))
        client.log_model_artifacts(logged, folder)
    client.set_registered_model_alias(name, "challenger", version)
    return version


def _log_chat_model(model: Artifact, cards: Cards, name: str) -> str:
    import mlflow
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    for chatty in ("mlflow.transformers", "mlflow.store.model_registry.abstract_store", "mlflow.tracking"):
        logging.getLogger(chatty).setLevel(logging.ERROR)  # model cards on a hub that was never asked
    tokenizer = AutoTokenizer.from_pretrained(model.path)
    policy = AutoModelForCausalLM.from_pretrained(model.path)
    # served answers name the artifact, not a path of this machine; for the colon MLflow does not ask a hub about it
    policy.name_or_path = f"gristmill:{model.address}"
    pipeline_parts = {"model": policy, "tokenizer": tokenizer}
    # dict form: log_model("<path>") fails with transformers 5.23
    with explained("log_model"), mlflow.start_run(run_id=parent_run_id()):
        logged = mlflow.transformers.log_model(
            pipeline_parts,
            name="model",
            task="llm/v1/chat",
            registered_model_name=name,
            input_example={"messages": [{"role": "user", "content": "What does `os.getcwd` do?"}]},
            # an index has no builds for one device, such as 2.13.0+cpu
            pip_requirements=[f"{p}=={metadata.version(p).partition('+')[0]}" for p in REQUIREMENTS],
            model_card=_hub_card(cards),
            tags={ARTIFACT: model.address},  # the version is born with it: what is cut off here is found again
        )
    return str(logged.registered_model_version)


def _hub_card(cards: Cards) -> Any:
    """As MLflow takes it; without one it asks a hub for a card of that name."""
    from huggingface_hub import ModelCard

    return ModelCard(cards.files[MODEL_CARD])


class Registry:
    """Aliases and tags of registered models in MLflow, as gristmill/promotion/aliases.py moves them.

    Raises RuntimeError, with what MLflow said, where it fails.
    """

    def __init__(self, client: Any = None) -> None:
        self.client = ExplainedClient(client) if client else mlflow_client()

    def aliases(self, model: str) -> dict[str, str]:
        """Alias → version; empty when there is no such model."""
        try:
            found = self._ask("get_registered_model", model)
        except LookupError:
            return {}
        return {alias: str(version) for alias, version in found.aliases.items()}

    def tags(self, model: str, version: str) -> dict[str, str]:
        """The version's tags; none when there is no such version."""
        try:
            return dict(self._ask("get_model_version", model, version).tags)
        except LookupError:
            return {}

    def point(self, model: str, alias: str, version: str | None) -> None:
        """Let the alias point to a version, or to nothing."""
        if version is None:
            self._ask("delete_registered_model_alias", model, alias)
        else:
            self._ask("set_registered_model_alias", model, alias, version)

    def tag(self, model: str, version: str, key: str, value: str) -> None:
        """Write a tag of a version."""
        self._ask("set_model_version_tag", model, version, key, value)

    def _ask(self, what: str, *arguments: str) -> Any:
        try:
            return getattr(self.client, what)(*arguments)
        except MlflowFailed as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise LookupError(str(error)) from error
            raise
