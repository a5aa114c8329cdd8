"""`gristmill review`: people compare answers in a browser."""

import json
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from flows.cli import workspace
from gristmill.errors import ConfigError

if TYPE_CHECKING:
    from gristmill.evaluate.sampling_config import Sampling
    from gristmill.review.queue import Candidate
    from gristmill.review.selection import Sampled

app = App(name="review", help="Let people judge answers in a browser; what they say becomes preference pairs.")

Folder = Annotated[Path, Parameter(help="The review: queue.jsonl, assignment.txt, judgements.jsonl.")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="One JSON object on stdout.")]


@app.default
def serve(
    folder: Folder,
    /,
    *,
    reviewer: Annotated[str | None, Parameter(help="Whose judgements these are; the login name when left out.")] = None,
    port: Annotated[int, Parameter(help="0: any free one.")] = 0,
) -> int:
    """Serve a review's page on this machine; its address goes to stdout."""
    import getpass

    from gristmill.review.server import serve

    serve(folder, reviewer or getpass.getuser(), port=port)
    return 0


@app.command
def make(
    folder: Folder,
    /,
    *,
    prompts: Annotated[
        Path, Parameter(help="JSONL: prompt or messages, reference; with `answers`, no model is asked.")
    ],
    model: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="A checkpoint's address or folder; two, or one that answers twice."),
    ] = (),
    count: Annotated[int | None, Parameter(help="The first of the prompts; all when left out.")] = None,
    samples: Annotated[
        int, Parameter(help="Answers drawn of each model; the one that rewards like best is shown.")
    ] = 1,
    reward_model: Annotated[
        tuple[str, ...], Parameter(negative="", help="A reward model's address or folder; may be repeated.")
    ] = (),
    disagreed: Annotated[int | None, Parameter(help="Keep the prompts on which reward models disagree most.")] = None,
    max_new_tokens: int = 128,
    temperature: float = 0.7,
    top_p: float = 0.95,
    planted: Annotated[float, Parameter(help="Share of items with a planted error: 0.05 to 0.1, or 0.")] = 0.08,
    assignment: Annotated[Path | None, Parameter(help="What reviewers are asked to do; ours when left out.")] = None,
    seed: Annotated[int, Parameter(help="Decides order, sides, sampled answers and planted errors.")] = 0,
) -> int:
    """Make a review of prompts with two answers each, from a file or sampled from one or two checkpoints."""
    from gristmill.evaluate.sampling_config import Sampling
    from gristmill.review import folder as review
    from gristmill.review.candidates import read_candidates
    from gristmill.review.queue import make_queue, write_queue
    from gristmill.review.selection import select

    if (folder / review.LOG).exists():
        raise ConfigError(f"{folder} has judgements already; make the new queue in another folder")
    candidates = read_candidates(prompts)[:count]
    dropped = Counter[str]()
    if model:
        sampling = Sampling(temperature=temperature, top_p=top_p)
        sampled, dropped = _sampled(candidates, model, samples, max_new_tokens, sampling, seed)
        candidates = select(sampled, [_folder(name) for name in reward_model], disagreed=disagreed)
    elif samples > 1 or reward_model or disagreed is not None:
        raise ConfigError(
            "--samples, --reward-model and --disagreed choose among answers of a --model; name one or two"
        )
    elif any(not each.answers for each in candidates):
        raise ConfigError(f"{prompts.name}: not every line has `answers`; name one or two checkpoints with --model")
    items, left_out = make_queue(candidates, seed=seed, planted=planted)
    if not items:
        raise ValueError(f"{prompts.name}: nothing to judge, after leaving out {dict(dropped + left_out)}")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(assignment or Path(review.__file__).with_name(review.ASSIGNMENT), folder / review.ASSIGNMENT)
    write_queue(folder / review.QUEUE, items)
    spoiled = sum(1 for item in items if item.planted)
    print(f"{folder}: {len(items)} items, {spoiled} of them with a planted error; left out: {dict(dropped + left_out)}")
    print(f"now: gristmill review {folder}", file=sys.stderr)
    return 0


@app.command
def report(folder: Folder, /, *, as_json: Json = False) -> int:
    """Count judgements, agreement between reviewers, caught errors and how often the left side wins."""
    from gristmill.review.agreement import review_report
    from gristmill.review.folder import read_review

    found = review_report(read_review(folder))
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _show(found)
    return 0


def _sampled(
    prompts: "list[Candidate]",
    names: Sequence[str],
    samples: int,
    max_new_tokens: int,
    sampling: "Sampling",
    seed: int,
) -> "tuple[list[Sampled], Counter[str]]":
    from gristmill.review.candidates import sample_answers

    if samples < 1:
        raise ConfigError(f"--samples {samples}: at least one answer of each model is needed")
    if len(names) > 2:
        raise ConfigError(f"--model was given {len(names)} times; a reviewer compares two answers")
    if (len(names) == 1 or samples > 1) and sampling.temperature == 0:
        raise ConfigError("--temperature 0: a model gives the same answer each time; draw above 0")
    first, second = names[0], names[-1]  # one answers twice
    models = (first, _folder(first)), (second, _folder(second))
    return sample_answers(
        prompts,
        models,
        samples=samples,
        max_new_tokens=max_new_tokens,
        sampling=sampling,
        seed=seed,
    )


def _folder(name: str) -> Path:
    if Path(name).is_dir():
        return Path(name)
    store = workspace.store()
    store.load(name)
    return store.path(name)


def _show(found: dict[str, Any]) -> None:
    print(
        f"{found['judgements']} judgements of {found['items']} items, {found['planted']} of them with a planted error; "
        f"{found['undone']} undone"
    )
    if found["torn_lines"]:
        print(f"cut off by a crash and left out: lines {', '.join(map(str, found['torn_lines']))}")
    for model, count in found["preferred"].items():
        print(f"preferred {count} times: {model}")
    for name, facts in found["reviewers"].items():
        verdicts = ", ".join(f"{verdict} {count}" for verdict, count in facts["verdicts"].items())
        print(f"{name}: {verdicts}")
        print(f"  planted errors caught  {_share(facts['caught'])}")
        print(f"  left preferred         {_share(facts['left'])}")
    agreed = found["agreement"]
    if agreed["items"] == 0:
        print("agreement: no item was judged by two reviewers")
        return
    print(f"agreement on {agreed['items']} items: raw {agreed['raw']:.2f}, {_alpha(agreed)}")
    for pair, kappa in agreed["cohen_kappa"].items():
        print(f"  Cohen's kappa {pair}: {'undefined' if kappa is None else f'{kappa:.2f}'}")


def _share(share: dict[str, Any]) -> str:
    if share["share"] is None:
        return "none judged"
    return f"{share['count']} of {share['of']}, {share['share']:.2f} [{share['ci_low']:.2f}, {share['ci_high']:.2f}]"


def _alpha(agreed: dict[str, Any]) -> str:
    if agreed["alpha"] is None:
        return "Krippendorff's alpha undefined, since all votes are the same"
    low, high = agreed["alpha_ci_low"], agreed["alpha_ci_high"]
    interval = "" if low is None else f" [{low:.2f}, {high:.2f}]"
    return f"Krippendorff's alpha {agreed['alpha']:.2f}{interval}"
