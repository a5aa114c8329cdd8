"""`@stage`: a function that fills a folder becomes a cached, tracked Prefect task.

    @stage(produces=Documents, version=1)
    def dedup(out: Path, documents: Documents, config: DedupConfig, resources: Resources = Resources()) -> Report: ...

Callers see `dedup(documents=…, config=…) -> Documents`. What decides the result (stage, version, configurations,
addresses of the inputs) makes the artifact's address; `resources` do not. A stage that takes `cache` has one input, and
keeps the results of its shards there for other artifacts. A mapping of names to artifacts is as many inputs. An input
that is None has None in the key; where None is its parameter's default it is not there at all, so a stage can get a new
input and what was made without one keeps its address. Inside `session(...)` a call either plans (nothing is computed,
Prefect is not imported) or runs.

The store decides what is cached, inside the task and under the address's lock; the task run's state is named Cached
or Completed accordingly. Prefect's own result cache is off: it would be a second memory of the same fact, and when
two runs race it says Completed for what the second one only reused (docs/decisions/0002-one-cache.md).
"""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeVar

from gristmill.addresses import traceback_of, without_secrets
from gristmill.artifacts import Artifact, Checkpoint
from gristmill.errors import NotHere
from gristmill.ledger.config import PricesConfig
from gristmill.ledger.meter import Ledger
from gristmill.provenance import changed_modules, git_commit, reachable_code
from gristmill.recipe_changes import changes
from gristmill.report import Report
from gristmill.schema import Resources, SourceUnavailable, StageConfig
from gristmill.shard_cache import ShardCache, fingerprint
from gristmill.store import ArtifactStore, Recipe, Record
from tasks.gpu_slot import gpu_slot

P = ParamSpec("P")
A = TypeVar("A", bound=Artifact)
Resumable = Literal["never", "same_code", "always"]
State = Literal["reuse", "build", "blocked", "built", "reused"]
Check = Callable[[Record, Path], str | None]
Refuses = Callable[[ArtifactStore, dict[str, Recipe], dict[str, Any]], str | None]
Notes = Callable[[dict[str, Any]], list[str]]


class StageFailed(RuntimeError):
    """A stage stopped; what was finished before it stays reusable.

    Prefect keeps, shows and posts the message, and logs the traceback. So the cause is told in them without the
    passwords that a library's error may repeat: raise it `from None`, its note has the cause's traceback.
    """

    def __init__(self, label: str, cause: Exception, address: str = "") -> None:
        super().__init__(f"{label}: {without_secrets(cause)}")
        self.label, self.cause, self.address = label, cause, address
        self.add_note(traceback_of(cause))


@dataclass
class Step:
    """One stage of a plan or a run, as tables and JSON show it."""

    label: str
    state: State
    address: str
    because: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What a plan says beside the reasons."""
    rebuild: bool = False
    """A whole artifact lies there, yet it is built again: refreshed, or no longer true outside the store."""
    refreshed: Record | None = None
    """What lies there, where a --refresh alone has it built again: one built since then by this code will do."""
    seconds: float = 0.0
    record: Record | None = None
    report: Report | None = None
    recipe: Recipe | None = None


@dataclass
class Session:
    """One plan or one run: where artifacts are, what is refreshed, and the steps so far."""

    store: ArtifactStore
    planning: bool
    run: str = "plan"
    resources: Resources = field(default_factory=Resources)
    refresh: frozenset[str] = frozenset()
    earlier: dict[str, Recipe] = field(default_factory=dict)
    """Stage label → its recipe in the last run, to say what differs."""
    steps: list[Step] = field(default_factory=list)
    warn: Callable[[str], None] = print
    on_step: Callable[[Step], None] | None = None
    variant: str | None = None
    """Stands in the label of each stage that has no instance of its own: `filter[raw]`."""
    ledger: Ledger = field(default_factory=Ledger)
    prices: PricesConfig = field(default_factory=PricesConfig)

    def step_of(self, address: str) -> Step | None:
        return next((step for step in self.steps if step.address == address), None)


_session: ContextVar[Session] = ContextVar("session")


@contextmanager
def session(opened: Session) -> Iterator[Session]:
    """Stage calls inside the block belong to this plan or run."""
    token = _session.set(opened)
    try:
        yield opened
    finally:
        _session.reset(token)


@contextmanager
def variant(name: str) -> Iterator[None]:
    """Stage calls inside the block are labelled `filter[name]`: a flow may call them several times."""
    with session(replace(_session.get(), variant=name)):
        yield


def current_session() -> Session:
    """The plan or run that the caller belongs to."""
    return _session.get()


def stage(
    *,
    produces: type[A],
    version: int,
    resumable: Resumable = "never",
    launches: bool = False,
    retries: int = 0,
    check: Check | None = None,
    refuses: Refuses | None = None,
    notes: Notes | None = None,
) -> Callable[[Callable[Concatenate[Path, P], Report]], "Stage[P, A]"]:
    """Declare a stage. Bump `version` when the output's meaning changes.

    resumable: whether the draft of a killed build is continued: where no module that the stage can reach has changed in
    between, or always (a training that goes on from its checkpoint).
    launches: it starts a program (tasks/launch.py), which computes on a GPU where the resources ask for one.
    check: asks the world outside the store whether a hit still holds (the registry may have been emptied); it returns
    what is wrong, or None. It raises SourceUnavailable when it cannot ask.
    refuses: asks whether the inputs go together, before anything is built; it gets the store, the recipes so far by
    address and the arguments, and returns what is wrong, or None.
    notes: facts of the arguments that a plan shows, such as a licence.
    """

    def declare(function: Callable[Concatenate[Path, P], Report]) -> "Stage[P, A]":
        asked = {"check": check, "refuses": refuses, "notes": notes}
        options = {"resumable": resumable, "launches": launches, "retries": retries, **asked}
        return Stage(function, produces, version, **options)

    return declare


class Stage(Generic[P, A]):
    def __init__(
        self,
        function: Callable[Concatenate[Path, P], Report],
        produces: type[A],
        version: int,
        *,
        resumable: Resumable,
        launches: bool,
        retries: int,
        check: Check | None,
        refuses: Refuses | None = None,
        notes: Notes | None = None,
        instance: str | None = None,
    ) -> None:
        self.function, self.produces, self.version = function, produces, version
        self.resumable, self.launches, self.retries = resumable, launches, retries
        self.check, self.refuses, self.notes = check, refuses, notes
        self.name: str = function.__name__
        self.instance = instance
        self.signature = inspect.signature(function)
        self.__doc__ = function.__doc__

    @property
    def label(self) -> str:
        """The name, with the instance or else the session's variant in brackets."""
        here = _session.get(None)
        instance = self.instance or (here.variant if here else None)
        return f"{self.name}[{instance}]" if instance else self.name

    def __getitem__(self, instance: str) -> "Stage[P, A]":
        """The same stage under a label of its own, `evaluate["sft"]` as `evaluate[sft]`; no part of the key."""
        asked = {"check": self.check, "refuses": self.refuses, "notes": self.notes}
        options = {"resumable": self.resumable, "launches": self.launches, "retries": self.retries, **asked}
        return Stage(self.function, self.produces, self.version, instance=instance, **options)

    def at(self, address: str) -> A:
        """An artifact that this stage made earlier and a configuration names, in place of a call.

        Raises NotHere in a run when the store lacks it; a plan is blocked.
        """
        here = _session.get()
        record = here.store.find(address)
        if record is None:
            missing = (
                f"{address} is not (whole) in {here.store}; build it again with its configuration, or name another"
            )
            if not here.planning:
                raise NotHere(missing)
            step = Step(self.label, "blocked", address, [missing])
        else:
            step = Step(self.label, "reuse" if here.planning else "reused", address, recipe=record.recipe)
            step.record, step.report = record, here.store.report(address)
        self._append(here, step)
        return self.produces(address, here.store.place(address))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> A:
        here = _session.get()
        arguments = dict(self.signature.bind(Path(), *args, **kwargs).arguments)
        del arguments[next(iter(self.signature.parameters))]
        try:
            step = self._plan(here, arguments)
        except (SourceUnavailable, ValueError) as error:  # a source that is away, or a path with nothing there
            if not here.planning:
                raise
            step = Step(self.label, "blocked", f"{self.produces.kind}/{self.name}-unknown", [str(error)])
        if not here.planning:
            planned, step = step, self._run(here, arguments, step)
            step.recipe, step.rebuild = planned.recipe, planned.rebuild
        self._append(here, step)
        return self.produces(step.address, here.store.place(step.address))

    def _append(self, here: Session, step: Step) -> None:
        here.steps.append(step)
        if here.on_step:
            here.on_step(step)

    def _plan(self, here: Session, arguments: dict[str, Any]) -> Step:
        """Whether this call is reused, would be built, or is blocked, and why."""
        waiting = [
            artifact.address
            for artifact in _artifacts(arguments)
            if (made := here.step_of(artifact.address)) and made.state == "blocked"
        ]
        if waiting:
            return Step(self.label, "blocked", f"{self.produces.kind}/{self.name}-unknown", [f"waits for {waiting[0]}"])
        recipe = self._recipe(arguments)
        recipes = {step.address: step.recipe for step in here.steps if step.recipe}
        if self.refuses and (fault := self.refuses(here.store, recipes, arguments)):
            raise ValueError(fault)
        step = Step(self.label, "reuse", recipe.address, recipe=recipe)
        step.notes = self.notes(arguments) if self.notes else []
        step.record = here.store.find(recipe.address)
        if made := here.step_of(recipe.address):  # by another call of this run; a refresh has had its turn
            step.because = [f"the same as {made.label}"]
            return step
        rebuilt = [artifact.address for artifact in _artifacts(arguments) if _is_rebuilt(here, artifact)]
        if step.record is None:
            before = here.earlier.get(self.label)
            differ = [str(change) for change in changes(recipe, before)] if before else []
            step.because = differ or [_absence(here.store, recipe)]
        elif {self.name, self.label} & here.refresh:
            step.because, step.rebuild = [f"--refresh {self.name}"], True
            step.refreshed = None if rebuilt else step.record
        elif rebuilt:
            step.because, step.rebuild = [f"input {rebuilt[0]} is built again"], True
        elif self.check and (fault := self.check(step.record, here.store.path(recipe.address))):
            step.because, step.rebuild = [fault], True
        if step.because:
            step.state, step.record = "build", None
        elif step.record:
            step.report, step.seconds = here.store.report(recipe.address), step.record.seconds
            self._warn_of_changed_code(here, step.record)
        return step

    def _recipe(self, arguments: dict[str, Any]) -> Recipe:
        config: dict[str, Any] = {}
        inputs: dict[str, str | None] = {}
        for name, value in arguments.items():
            if isinstance(value, StageConfig):
                config[self.name if name == "config" else name] = value.identity()
            elif isinstance(value, Artifact):
                inputs[name] = value.address
            elif isinstance(value, Mapping) and all(isinstance(each, Artifact) for each in value.values()):
                inputs |= {f"{name}.{key}": each.address for key, each in value.items()}
            elif value is None and self.signature.parameters[name].default is None:
                continue
            elif value is None or isinstance(value, str):
                inputs[name] = value
            elif not isinstance(value, Resources):
                raise TypeError(
                    f"stage {self.label}: {name} is a {type(value).__name__}, which cannot be part of a key"
                )
        return Recipe(kind=self.produces.kind, stage=self.name, version=self.version, config=config, inputs=inputs)

    def _warn_of_changed_code(self, here: Session, record: Record) -> None:
        changed = changed_modules(record.code, reachable_code(Path(inspect.getfile(self.function))))
        if changed:
            names = ", ".join(f"{module}" for module in changed[:3]) + (" and others" if len(changed) > 3 else "")
            here.warn(
                f"{self.label} served from cache, but {names} changed since; "
                f"if that changes its result, bump its version or use --refresh {self.name}"
            )

    def _run(self, here: Session, arguments: dict[str, Any], planned: Step) -> Step:
        """Run the stage as a Prefect task, which builds the artifact or finds it whole."""
        from prefect import task
        from prefect.cache_policies import NO_CACHE
        from prefect.states import Completed

        assert planned.recipe
        recipe, result = planned.recipe, planned

        def build_or_reuse(artifact: str, inputs: dict[str, str | None]):
            nonlocal result
            record = planned.record
            if record is None:
                resume = self._resume(rebuild=planned.rebuild)
                building = here.store.building(artifact, resume=resume, rebuild=planned.rebuild)
                with self._slot(here, planned), building as draft:
                    record = self._built_meanwhile(here.store.find(artifact), planned)
                    if record is None:
                        result = self._build(here, arguments, recipe, draft, fresh=planned.rebuild)
                        return Completed(message=f"{artifact} in {result.seconds:.1f} s")
            result = Step(self.label, "reused", artifact, record=record, report=here.store.report(artifact))
            return Completed(name="Cached", message=f"{artifact}, built by {record.run}")

        runnable = task(
            name=self.name,
            task_run_name=self.label,
            description=self.__doc__,
            retries=self.retries,
            cache_policy=NO_CACHE,
            persist_result=False,
        )(build_or_reuse)
        runnable(artifact=recipe.address, inputs=recipe.inputs)
        return result

    def _slot(self, here: Session, planned: Step) -> AbstractContextManager[None]:
        """The machine's GPU for what starts a program, unless the artifact is there.

        It comes before the address, as `together` has it: two runs that took them in different orders would wait for
        each other for ever.
        """
        if not self.launches or planned.state != "build":
            return nullcontext()
        return gpu_slot(here.resources)

    def _cache(self, store: ArtifactStore, recipe: Recipe, *, fresh: bool) -> ShardCache:
        """Results of shards that earlier artifacts of this stage were made of, by the same configuration and code."""
        code = reachable_code(Path(inspect.getfile(self.function)))
        decisive = recipe.model_dump(mode="json", include={"stage", "version", "config"})
        return store.shard_cache(f"{self.name}-{fingerprint(**decisive, code=code)}", fresh=fresh)

    def _built_meanwhile(self, found: Record | None, planned: Step) -> Record | None:
        """What another run has built since this one was planned, or an upload that was left over has brought."""
        if found is None or not planned.rebuild:
            return found
        is_newer = planned.refreshed is not None and found.created > planned.refreshed.created
        code = reachable_code(Path(inspect.getfile(self.function)))
        return found if is_newer and not changed_modules(found.code, code) else None

    def _resume(self, *, rebuild: bool) -> str | None:
        """What must be the same for a draft to be continued. What is built again goes on from such a draft alone."""
        if self.resumable == "never":
            return None
        code = json.dumps(reachable_code(Path(inspect.getfile(self.function))))
        if rebuild:
            return f"again {code}"
        return "always" if self.resumable == "always" else code

    def _build(self, here: Session, arguments: dict[str, Any], recipe: Recipe, draft: Path, *, fresh: bool) -> Step:
        from tasks.progress_artifact import progress_artifact
        from tasks.tracking import stage_run

        if "resources" in self.signature.parameters:
            arguments = arguments | {"resources": here.resources}
        if "cache" in self.signature.parameters:
            arguments = arguments | {"cache": self._cache(here.store, recipe, fresh=fresh)}
        inputs = [artifact.address for artifact in _artifacts(arguments)]
        with here.store.reading(inputs), stage_run(self.label, recipe) as tracked:
            try:
                with (
                    here.ledger.metered() as meter,
                    tracked.following(draft / "metrics.jsonl"),
                    progress_artifact(self.label),
                ):
                    report = self.function(draft, **arguments)  # type: ignore[reportCallIssue]
            except Exception as error:
                raise StageFailed(self.label, error, recipe.address) from None
            seconds = meter.seconds
            record = here.store.publish(
                draft,
                recipe,
                report,
                label=self.label,
                run=here.run,
                seconds=seconds,
                resources=here.resources.model_dump(),
                code=reachable_code(Path(inspect.getfile(self.function))),
                git_commit=git_commit(),
                costs=meter.costs,
            )
            if record.run != here.run:  # another machine published first
                report = here.store.report(record.address)
            tracked.finish(record, report, here.store.file(record.address, "report.json").parent)
        return Step(self.label, "built", recipe.address, seconds=seconds, record=record, report=report)


def _artifacts(arguments: Mapping[str, Any]) -> list[Artifact]:
    """The artifacts among a stage's arguments, those in mappings too."""
    values = [
        each for value in arguments.values() for each in (value.values() if isinstance(value, Mapping) else [value])
    ]
    return [value for value in values if isinstance(value, Artifact)]


def _is_rebuilt(here: Session, artifact: Artifact) -> bool:
    made = here.step_of(artifact.address)
    return made is not None and made.rebuild


def _absence(store: ArtifactStore, recipe: Recipe) -> str:
    try:
        store.load(recipe.address)
    except FileNotFoundError:
        return "not built yet"
    except RuntimeError as error:
        return str(error)
    raise AssertionError("find() and load() disagree")


def checkpoint_at(address: str) -> Checkpoint:
    """A checkpoint named by address, such as the champion. Raises NotHere when this store lacks it."""
    store = _session.get().store
    if store.find(address) is None:
        raise NotHere(
            f"{address} is not (whole) in {store}, so nothing can start from it or be compared "
            "with it; build it again with its configuration, or remove the alias `champion` if it is the champion"
        )
    return Checkpoint(address, store.place(address))
