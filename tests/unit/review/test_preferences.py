import json
from pathlib import Path
from typing import Any

import pytest
from small_review import real, says, write_review
from tiny_chat_model import write_examples

from flows.train import train
from gristmill.align.config import ExampleRows
from gristmill.align.data import read_conversations, read_pairs
from gristmill.errors import SourceUnavailable
from gristmill.review.config import PreferencesConfig
from gristmill.review.folder import LOG, read_review
from gristmill.review.log import Judgement, append
from gristmill.review.preferences import judged_rows, message, prompt_digest, run_preferences, write_rows
from gristmill.review.queue import Item
from tasks.preferences import preferences


def verdict(item: Item, verdict: str, reviewer: str = "anna", written: str | None = None) -> Judgement:
    return Judgement(reviewer=reviewer, item=item.id, verdict=verdict, left=0, written=written)  # type: ignore[arg-type]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_most_votes_decide_and_what_teaches_nothing_is_counted(tmp_path: Path):
    folder, items = tmp_path / "review", write_review(tmp_path / "review", prompts=10)
    two_to_one, divided, tie, both_bad, skip, later, *rest = real(items)
    said = [says("anna", two_to_one, prefers=1), says("boris", two_to_one, prefers=1)]
    said += [says("clara", two_to_one, prefers=0), says("anna", divided, prefers=0), says("boris", divided, prefers=1)]
    said += [verdict(tie, "tie"), verdict(both_bad, "both_bad"), verdict(skip, "skip")]
    said += [says("anna", later, prefers=0), verdict(later, "undo")]
    said += [says("anna", item, prefers=0) for item in items.values() if item.planted]
    for each in said:
        append(folder / LOG, each)
    found = judged_rows(read_review(folder))
    assert [row["id"] for row in found.pairs] == [two_to_one.id]
    assert found.pairs[0]["chosen"] == [{"role": "assistant", "content": two_to_one.answers[1].text}]
    assert found.pairs[0]["rejected"] == [{"role": "assistant", "content": two_to_one.answers[0].text}]
    assert found.dropped == {
        "planted": 1, "divided": 1, "tie": 1, "both_bad": 1, "skip": 1, "not_judged": 1 + len(rest)
    }  # fmt: skip


def test_the_side_is_translated_back_to_the_answer(tmp_path: Path):
    """Half of the reviewer's keys are `left`, yet the chosen answer is always the right one."""
    folder, items = tmp_path / "review", write_review(tmp_path / "review", prompts=40)
    said = [says("anna", item, prefers=0) for item in items.values()]
    assert {each.verdict for each in said} == {"left", "right"}
    for each in said:
        append(folder / LOG, each)
    assert all(row["chosen"][0]["content"].startswith("It is ") for row in judged_rows(read_review(folder)).pairs)


def test_a_written_answer_is_an_sft_row_and_beats_both_that_it_replaces(folder: Path):
    item = real(read_review(folder).items)[0]
    append(folder / LOG, verdict(item, "written", written="Eleven, since 10 + 1 = 11.\n"))
    found = judged_rows(read_review(folder))
    better = {"role": "assistant", "content": "Eleven, since 10 + 1 = 11."}
    assert found.written[0]["messages"] == [item.prompt[0].model_dump(), better]
    assert [row["chosen"] for row in found.pairs] == [[better], [better]]
    assert {row["rejected"][0]["content"] for row in found.pairs} == {answer.text for answer in item.answers}


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    folder, items = tmp_path / "review", write_review(tmp_path / "review", prompts=20)
    first, *others = real(items)
    append(folder / LOG, verdict(first, "written", written="Mine."))
    for item in others:
        append(folder / LOG, says("anna", item, prefers=0))
    return folder


@pytest.mark.parametrize("made_pairs", [False, True])
def test_the_artifact_is_read_as_examples_and_no_prompt_is_on_both_sides(
    judged: Path, tmp_path: Path, made_pairs: bool
):
    made, out = write_examples(tmp_path / "examples"), tmp_path / "out"
    out.mkdir()
    config = PreferencesConfig(reviews=[judged], held_out=0.25, made_pairs=made_pairs)
    report = run_preferences(made, out, config)
    assert (report.rows_in, report.rows_out) == (20, 19)  # 17 judged pairs, and one written answer against two
    assert report.dropped == {"planted": 2}
    assert report.metrics == {"written_answers": 1}
    pairs, chats = read_pairs(ExampleRows(), out), read_conversations(ExampleRows(), out)
    assert len(pairs.train) + len(pairs.held_out) == 19 + 12 * made_pairs
    assert len(chats.train) + len(chats.held_out) == 12 + 1
    held_out = {pair.prompt[0]["content"] for pair in pairs.held_out if "What is" in pair.prompt[0]["content"]}
    assert len(held_out) == 5  # ⌈18 prompts × .25⌉
    assert not held_out & {pair.prompt[0]["content"] for pair in pairs.train}
    assert (out / "benchmark.jsonl").read_bytes() == (made / "benchmark.jsonl").read_bytes()


def test_of_a_prompt_that_either_side_holds_out_no_row_trains(tmp_path: Path):
    """Made rows: prompts 0 to 9 train, 10 and 11 are held out. Judged ones: 8 to 13, 8 and 12 of them held out, and a
    second turn to each of 8 and 9."""
    asked = [[{"role": "user", "content": f"What is {number}?"}] for number in range(14)]
    more = [{"role": "assistant", "content": "It is."}, {"role": "user", "content": "And then?"}]

    def pair_of(prompt: list[dict[str, str]], chosen: str) -> dict[str, Any]:
        return {"prompt": prompt, "chosen": [message(chosen)], "rejected": [message("No.")]}

    for name, part in (("preferences", asked[:10]), ("preferences_held_out", asked[10:12])):
        lines = [json.dumps(pair_of(prompt, "made")) + "\n" for prompt in part]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    judged = [pair_of(prompt, "judged") for prompt in [*asked[8:], [*asked[8], *more], [*asked[9], *more]]]
    held_out = {prompt_digest(judged[0]), prompt_digest(judged[4])}
    write_rows(tmp_path, "preferences", judged, held_out, keep=True)
    read = read_pairs(ExampleRows(), tmp_path)
    held = [(pair.prompt[0]["content"], pair.chosen["content"]) for pair in read.held_out]
    assert sorted(held) == [
        ("What is 10?", "judged"), ("What is 10?", "made"), ("What is 11?", "judged"), ("What is 11?", "made"),
        ("What is 12?", "judged"), ("What is 8?", "judged"), ("What is 8?", "judged"), ("What is 8?", "made"),
    ]  # fmt: skip
    assert len(read.train) == 9 + 3  # made: 0–7 and 9; judged: 9, its second turn, and 13
    assert not {prompt for prompt, _ in held} & {pair.prompt[0]["content"] for pair in read.train}


def test_the_key_follows_what_was_judged_and_not_where_it_lies(judged: Path, tmp_path: Path):
    config = PreferencesConfig(reviews=[judged])
    before = config.identity()
    judged.rename(tmp_path / "elsewhere")
    moved = PreferencesConfig(reviews=[tmp_path / "elsewhere"], min_pairs=1)
    assert moved.identity() == before
    item = real(read_review(tmp_path / "elsewhere").items)[3]
    append(tmp_path / "elsewhere" / LOG, verdict(item, "undo"))
    assert PreferencesConfig(reviews=[tmp_path / "elsewhere"]).identity() != before


def test_what_is_said_after_the_key_was_made_does_not_slip_under_it(judged: Path, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    config = PreferencesConfig(reviews=[judged])
    key = config.identity()
    item = real(read_review(judged).items)[3]
    append(judged / LOG, verdict(item, "undo"))
    assert run_preferences(write_examples(tmp_path / "examples"), out, config).rows_out == 19
    assert config.identity() == key


def test_with_too_few_pairs_the_plan_waits_for_people(judged: Path):
    with pytest.raises(SourceUnavailable, match="waits for people: 19 of 30 preference pairs"):
        PreferencesConfig(reviews=[judged], min_pairs=30).identity()


def test_reward_model_and_align_take_what_people_said_and_wait_for_it(judged: Path, tmp_path: Path):
    steps = _planned(tmp_path, {"reviews": [str(judged)]})
    for label in ("reward_model", "align"):
        assert steps[label].recipe.inputs["examples"] == steps[preferences.name].address
    assert steps["sft"].recipe.inputs["examples"] == steps["examples"].address
    waiting = _planned(tmp_path, {"reviews": [str(judged)], "min_pairs": 30})
    assert {label: step.state for label, step in waiting.items() if label in ("sft", "preferences", "align")} == {
        "sft": "build", "preferences": "blocked", "align": "blocked"
    }  # fmt: skip
    without = _planned(tmp_path, None)
    assert without["align"].recipe.inputs["examples"] == without["examples"].address


def _planned(tmp_path: Path, said: dict[str, Any] | None) -> dict[str, Any]:
    from flows.data import data
    from gristmill.config import PipelineConfig
    from gristmill.store import ArtifactStore
    from tasks.stage import Session, session

    text = tmp_path / "pages.jsonl"
    text.write_text(json.dumps({"text": "A page."}) + "\n")
    settings = {
        "ingest": {"sources": [{"kind": "jsonl", "name": "pages", "paths": [str(text)]}]},
        "examples": {"source": {"packages": ["stdlib"], "max_modules": 1}},
        "preferences": said,
    }
    planned = Session(store=ArtifactStore(tmp_path / "store"), planning=True)
    with session(planned):
        config = PipelineConfig.model_validate(settings)
        train(config, data(config))
    return {step.label: step for step in planned.steps}


def test_a_judge_of_the_model_s_own_answers_waits_for_the_fine_tuned_model(judged: Path, tmp_path: Path):
    steps = _planned(
        tmp_path, {"kind": "ai_feedback", "judge": {"kind": "endpoint", "url": "https://x.org", "model": "m"}}
    )
    assert steps["preferences"].recipe.inputs["model"] == steps["sft"].address
    steps = _planned(tmp_path, {"reviews": [str(judged)]})
    assert "model" not in steps["preferences"].recipe.inputs
