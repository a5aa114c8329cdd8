import json
from pathlib import Path

import pytest
from small_review import real, says
from tiny_chat_model import write_tiny_model

from flows.cli.main import app
from gristmill.review.folder import ASSIGNMENT, LOG, read_review
from gristmill.review.log import append


def review(*arguments: object) -> int:
    return app(["review", *map(str, arguments)], exit_on_error=False, result_action="return_value")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    names = ["sort", "reverse", "join", "split", "count", "find", "index", "strip"]
    rows = [{"prompt": f"What does {name} do?", "reference": f"It does {name}, and gives 1 list."} for name in names]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"prompt": "long " * 200, "reference": "x"}]))
    return path


def test_two_models_answer_each_prompt_and_the_same_seed_gives_the_same_queue(prompts: Path, tmp_path: Path):
    models = [write_tiny_model(tmp_path / f"model-{seed}", seed=seed) for seed in (0, 1)]
    arguments = ["--prompts", prompts, "--model", models[0], "--model", models[1], "--max-new-tokens", 8]
    for folder in ("first", "second"):
        assert review("make", tmp_path / folder, *arguments) == 0
    first, second = (read_review(tmp_path / folder) for folder in ("first", "second"))
    assert first.digest == second.digest
    assert len(first.items) == 8  # the long prompt has no room for an answer
    for item in real(first.items):
        assert [answer.model for answer in item.answers] == [str(model) for model in models]
    assert len(real(first.items)) == 7
    assert "Which answer" in (tmp_path / "first" / ASSIGNMENT).read_text()


def test_one_model_answers_twice_and_needs_a_temperature(prompts: Path, tmp_path: Path):
    model = write_tiny_model(tmp_path / "model")
    arguments = ["--prompts", prompts, "--model", model, "--max-new-tokens", 8]
    assert review("make", tmp_path / "review", *arguments) == 0
    assert all(item.answers[0].text != item.answers[1].text for item in read_review(tmp_path / "review").items.values())
    with pytest.raises(ValueError, match="same answer each time"):
        review("make", tmp_path / "other", *arguments, "--temperature", 0)


def test_reward_models_choose_the_answers_and_the_prompts(prompts: Path, tmp_path: Path):
    model, judges = write_tiny_model(tmp_path / "model"), [write_tiny_model(tmp_path / f"j{n}", seed=n) for n in (1, 2)]
    arguments = ["--prompts", prompts, "--model", model, "--max-new-tokens", 8, "--planted", 0]
    by_judges = [word for judge in judges for word in ("--reward-model", judge)]
    assert review("make", tmp_path / "first", *arguments, *by_judges, "--samples", 3, "--disagreed", 4) == 0
    assert len(read_review(tmp_path / "first").items) == 4
    with pytest.raises(ValueError, match="need a reward model"):
        review("make", tmp_path / "other", *arguments, "--samples", 3)
    with pytest.raises(ValueError, match="1 reward models cannot disagree"):
        review("make", tmp_path / "other", *arguments, *by_judges[:2], "--disagreed", 4)
    with pytest.raises(ValueError, match="choose among answers of a --model"):
        review("make", tmp_path / "other", "--prompts", prompts, "--samples", 3)
    assert not (tmp_path / "other").exists()


def test_prompts_without_answers_need_a_model(prompts: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="not every line has `answers`"):
        review("make", tmp_path / "review", "--prompts", prompts)


def test_a_review_that_was_begun_is_not_made_again(folder: Path, prompts: Path):
    item = next(iter(read_review(folder).items.values()))
    append(folder / LOG, says("anna", item, prefers=0))
    with pytest.raises(ValueError, match="has judgements already"):
        review("make", folder, "--prompts", prompts)


def test_the_report_says_what_was_counted(folder: Path, capsys: pytest.CaptureFixture[str]):
    review("report", folder)
    assert "0 judgements of 6 items, 1 of them with a planted error" in capsys.readouterr().out
    for item in read_review(folder).items.values():
        append(folder / LOG, says("anna", item, prefers=0))
        append(folder / LOG, says("boris", item, prefers=0))
    with (folder / LOG).open("ab") as file:
        file.write(b'{"at": "20')
    review("report", folder)
    shown = capsys.readouterr().out
    assert "12 judgements" in shown
    assert "preferred 10 times: a" in shown
    assert "cut off by a crash and left out: lines 13" in shown
    assert "planted errors caught  1 of 1, 1.00 [0.21, 1.00]" in shown
    assert "agreement on 5 items: raw 1.00, Krippendorff's alpha undefined, since all votes are the same" in shown
    review("report", folder, "--json")
    assert json.loads(capsys.readouterr().out)["agreement"]["raw"] == 1.0


def test_the_example_in_the_documentation_makes_a_review(tmp_path: Path):
    example = Path(__file__).parents[3] / "docs" / "review-example.jsonl"
    assert review("make", tmp_path / "demo", "--prompts", example) == 0
    assert len(read_review(tmp_path / "demo").items) == 12
