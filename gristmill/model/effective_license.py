"""Under which licences a model stands by all that went into it, computed from its lineage; no legal advice.

The model it was adapted from (`origin.json`), the texts it was trained on (the `license` column of the training
documents, and what instruction rows were made from), and the models that judged or wrote for it (judges, revisers,
generators).
Left out: what a licence demands, and whether training makes a derived work.
"""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from gristmill.model.licenses import UNKNOWN, is_allowed, normalized
from gristmill.model.open_models_config import LicensesConfig
from gristmill.model.origin import data_licenses, read_origin
from gristmill.schema import Schema
from gristmill.store import ArtifactStore, Record

LONGEST_TAG = 5000
GENERATORS = ("endpoint", "model")
"""Kinds of a judge in a configuration."""
ROLES = ("judge", "reviser", "generator")
"""What a configuration calls them."""


class EffectiveLicense(Schema):
    """What a model stands under."""

    base: dict[str, str]
    """The open model it was made from → its licence; empty for one from scratch."""
    data: dict[str, int]
    """Licence → training documents and instruction rows under it, most first; 0 for rows of other files, which state
    a licence for all."""
    generators: dict[str, str]
    """Model that answered or judged → its licence."""

    @property
    def expression(self) -> str:
        """All of them, each once."""
        return "; ".join(dict.fromkeys([*self.base.values(), *self.generators.values(), *self.data]))

    @property
    def tags(self) -> dict[str, str]:
        """For the registered version, each as long as a tag may be."""
        tags = {"license_data": json.dumps(self.data), "license_effective": self.expression}
        if self.generators:
            tags["license_generators"] = json.dumps(self.generators)
        return {name: value[:LONGEST_TAG] for name, value in tags.items()}


def effective_license(store: ArtifactStore, checkpoint: str, policy: LicensesConfig) -> EffectiveLicense:
    """Of a checkpoint in the store. Raises FileNotFoundError or BrokenArtifact when a part of its lineage is gone."""
    origin = read_origin(store.path(checkpoint))
    records = {record.address: record for _, _, record in store.lineage(checkpoint) if record}
    data: Counter[str] = Counter()
    generators: dict[str, str] = {}
    for record in records.values():
        if record.recipe.kind == "splits":
            data += _of_documents(store, record)
        elif record.recipe.stage == "examples":
            data[_stated(record.recipe.config) or UNKNOWN] += store.report(record.address).rows_out
        for name, stated in _generators(record.recipe.config):
            generators[name] = normalized(policy.generators.get(name) or stated)
    for license in data_licenses(store.path(checkpoint)).values():
        data[license] += 0
    base = {origin.name: origin.license} if origin else {}
    return EffectiveLicense(
        base=base,
        data=dict(sorted(data.items(), key=lambda each: (-each[1], each[0]))),
        generators=dict(sorted(generators.items())),
    )


def allowed_license(store: ArtifactStore, checkpoint: str, policy: LicensesConfig | None) -> EffectiveLicense:
    """The same where the policy allows it. Raises ValueError where it does not. policy: None, the default one."""
    policy = policy or LicensesConfig()
    found = effective_license(store, checkpoint, policy)
    if fault := policy_fault(found, policy):
        raise ValueError(fault)
    return found


def policy_fault(found: EffectiveLicense, policy: LicensesConfig) -> str | None:
    """Why a model under these licences may not be registered; None where it may."""
    for name, license in {**found.base, **found.generators}.items():
        if not is_allowed(license, policy.allow):
            where = "licenses.generators states no licence of it" if license == UNKNOWN else f"it is under {license}"
            return (
                f"the model was made with {name}, and {where}; licenses.allow names only {', '.join(policy.allow)}. "
                f"Read its terms, then state or allow them, or train without it"
            )
    if policy.allow_data is not None:
        for license, count in found.data.items():
            if not is_allowed(license, policy.allow_data):
                return (
                    f"training texts ({count:,} documents) are under {license!r}, and licenses.allow_data names only "
                    f"{', '.join(policy.allow_data)}; leave their source out of ingest.sources, or allow it"
                )
    return None


def _of_documents(store: ArtifactStore, record: Record) -> Counter[str]:
    import pyarrow.parquet as pq

    counts: Counter[str] = Counter()
    for entry in record.files:
        if entry.path.startswith("train/") and entry.path.endswith(".parquet"):
            column = pq.read_table(store.file(record.address, entry.path), columns=["license"]).column("license")
            for each in column.value_counts().to_pylist():
                counts[each["values"] or UNKNOWN] += each["counts"]
    return counts


def _stated(value: Any) -> str | None:
    """The first `license` in a configuration."""
    for key, part in value.items() if isinstance(value, dict) else ():
        found = part if key == "license" and isinstance(part, str) else _stated(part)
        if found:
            return found
    return None


def _generators(value: Any) -> Iterator[tuple[str, str | None]]:
    """Models that a configuration lets judge or write, with the licence it states: that of a folder, or beside an
    endpoint. One that is the trained model itself has no name of its own."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key in ROLES and isinstance(part, dict) and part.get("kind") in GENERATORS:
                if name := part.get("model") or part.get("weights"):
                    yield str(name), value.get("license") or part.get("license")
            else:
                yield from _generators(part)
