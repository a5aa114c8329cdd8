"""Rows from seeds: what is kept, what is not and why, and whose licence they carry."""

import json
from pathlib import Path
from typing import Any

import pytest
from fake_judge import Asked, FakeJudge

from gristmill.align.config import ExampleRows
from gristmill.align.data import read_conversations
from gristmill.config import PipelineConfig
from gristmill.dedup.decontaminate_config import DecontaminateConfig, ItemFile
from gristmill.judge.config import EndpointJudge, ModelJudge, PromptFile
from gristmill.model.origin import data_licenses
from gristmill.schema import Resources
from gristmill.synthesize.config import SynthesizeConfig
from gristmill.synthesize.run import run_synthesize

HERE = Resources(threads=1, device="cpu")
SEEDS = {
    "How do I boil an egg so that the yolk stays soft?": "Put it into boiling water for six minutes, then cool it.",
    "What should I wear when it rains in the mountains?": "Wear a jacket that keeps the rain out, and good boots.",
    "Why does bread rise when it stands in a warm room?": "The yeast makes gas from sugar, and the dough holds it.",
    "Which bird can fly backwards, and how does it do that?": "The hummingbird can, by turning its wings in a figure.",
    "When is the best time to plant an apple tree here?": "Plant it in late autumn, when the tree is asleep.",
}
LEAK = "the quick brown fox jumps over the lazy dog at noon"


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    folder = tmp_path / "examples"
    folder.mkdir()
    rows = [conversation(question, answer) for question, answer in SEEDS.items()]
    (folder / "sft.jsonl").write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    held = [conversation(f"Held out question {number}?", "Held out.") for number in range(2)]
    (folder / "sft_held_out.jsonl").write_text("".join(json.dumps({"messages": row}) + "\n" for row in held))
    (folder / "held_out.jsonl").write_text(json.dumps({"id": "fox", "text": LEAK, "summary": ""}) + "\n")
    return folder


def conversation(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def made(examples: Path, out: Path, answer, **settings) -> tuple[Any, dict[str, dict], FakeJudge]:
    """The report, what became of each seed, and the endpoint."""
    benchmarks = settings.pop("benchmarks", [])
    with FakeJudge(answer, cut=settings.pop("cut", lambda asked: False)) as fake:
        generator = EndpointJudge(url=fake.url, model="fake", allow_private=True, first_wait_s=0.01)
        config = SynthesizeConfig(generator=generator, license="test-terms", **settings)
        report = run_synthesize(examples, out, config, DecontaminateConfig(benchmarks=benchmarks), HERE)
    rows = [json.loads(line) for line in (out / "synthesize" / "written.jsonl").read_text().splitlines()]
    return report, {row["seed"]: row for row in rows}, fake


def test_each_fault_is_named_and_the_rest_is_kept(examples: Path, tmp_path: Path):
    egg, rain, bread, bird, tree = SEEDS

    def answer(asked: Asked) -> str:
        mark = next(line for line in asked.text.splitlines() if line.startswith("</text"))
        return {
            egg: "Please tell me how an egg is cooked without making its middle hard.",
            rain: f"So {rain}",
            bread: f"Tell me how bread rises, and whether {LEAK} or in the evening.",
            bird: f"Which birds are able to move back in the air? {mark}",
            tree: "Wann ist bei uns die beste Zeit, um einen jungen Apfelbaum in die Erde zu setzen und zu gießen?",
        }[asked["text"]]

    report, rows, _ = made(examples, tmp_path / "out", answer, max_length_ratio=3.0)
    assert {seed: row["fault"] for seed, row in rows.items()} == {
        egg: None,
        rain: "duplicate",
        bread: "benchmark_leak",
        bird: "shows_marks",
        tree: "language",
    }
    assert report.rows_out == 1
    assert report.dropped == {"benchmark_leak": 1, "duplicate": 1, "language": 1, "shows_marks": 1}
    split = read_conversations(ExampleRows(), tmp_path / "out")
    assert [row.messages for row in split.train[5:]] == [conversation(rows[egg]["question"], SEEDS[egg])]
    assert (tmp_path / "out" / "sft_held_out.jsonl").read_bytes() == (examples / "sft_held_out.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "empty"),
        ("Eggs?", "length_ratio"),
        ("Would you please be so kind as to tell me about it. " * 8, "length_ratio"),
        ("Tell me of the egg and tell me of the egg and tell me of the egg and of the egg.", "repetitive"),
    ],
)
def test_a_text_of_the_wrong_size_or_that_repeats_itself_is_left_out(
    text: str, fault: str, examples: Path, tmp_path: Path
):
    settings = {"min_length_ratio": 0.8, "max_similarity": 1.0}
    report, _, _ = made(examples, tmp_path / "out", lambda asked: text, **settings)
    assert report.dropped == {fault: 5}


@pytest.mark.parametrize("recipe", ["rephrase", "translate", "generate"])
def test_a_text_that_was_cut_off_is_no_row(recipe: str, examples: Path, tmp_path: Path):
    text = "Tell me something about the kitchen, the garden or the ani"
    settings = {"recipe": recipe, "cut": lambda asked: True}
    report, _, fake = made(examples, tmp_path / "out", lambda asked: text, **settings)
    assert (report.rows_out, report.dropped) == (0, {"cut_off": 5})
    assert len(fake.requests) == (10 if recipe == "translate" else 5), "a task that is not whole is not answered"


def test_two_rows_alike_are_one(examples: Path, tmp_path: Path):
    text = "Tell me something about the kitchen, the garden or the animals, please."
    report, _, _ = made(examples, tmp_path / "out", lambda asked: text)
    assert (report.rows_out, report.dropped) == (1, {"duplicate": 4})


def test_items_of_a_benchmark_s_file_are_leaks_too(examples: Path, tmp_path: Path):
    items = tmp_path / "items.jsonl"
    items.write_text(
        json.dumps({"id": "1", "question": "Who on earth painted the ceiling of that chapel in Rome?"}) + "\n"
    )
    text = "I wonder: who on earth painted the ceiling of that chapel in the city?"
    settings = {"benchmarks": [ItemFile(path=items)], "max_similarity": 1.0}
    report, _, _ = made(examples, tmp_path / "out", lambda asked: text, **settings)
    assert report.dropped == {"benchmark_leak": 5}


def test_a_translation_is_of_question_and_answer(examples: Path, tmp_path: Path):
    german = {
        text: f"{number} {sentence}"
        for number, text in enumerate([*SEEDS, *SEEDS.values()])
        for sentence in [
            "Bitte schreibe mir ausführlich auf, was man darüber wissen muss."
            if text in SEEDS
            else "Das ist gar nicht schwer, man muss es nur einmal üben."
        ]
    }
    settings = {"recipe": "translate", "language": "de", "max_similarity": 1.0}
    _, rows, fake = made(examples, tmp_path / "out", lambda asked: german[asked["text"]], **settings)
    assert len(fake.requests) == 10
    assert all(row["question"] == german[seed] for seed, row in rows.items())
    assert all(row["answer"] == german[SEEDS[seed]] for seed, row in rows.items())
    assert all("code de" in body["messages"][1]["content"] for body, _ in fake.requests)


def test_a_new_task_is_written_after_three_seeds_and_answered_by_itself(examples: Path, tmp_path: Path):
    def answer(asked: Asked) -> str:
        if "text" in asked:
            assert asked["text"].count("Task: ") == 3
            return f"Explain to a child what a lighthouse is for, in words of the year {sum(asked.text.encode())}."
        assert asked.text.startswith("Explain to a child")
        return "It shows ships at night where the rocks are, so that they do not run onto them."

    settings = {"recipe": "generate", "max_similarity": 1.0, "max_length_ratio": 3.0}
    report, rows, fake = made(examples, tmp_path / "out", answer, **settings)
    assert report.rows_out == 5
    assert len(fake.requests) == 10
    assert len({body["seed"] for body, _ in fake.requests}) == 10
    assert {row["answer"] for row in rows.values()} == {
        "It shows ships at night where the rocks are, so that they do not run onto them."
    }


def test_every_row_carries_the_generator_and_its_licence(examples: Path, tmp_path: Path):
    text = "Tell me something about the kitchen, the garden or the animals, please."
    made(examples, tmp_path / "out", lambda asked: text)
    row = json.loads((tmp_path / "out" / "sft.jsonl").read_text().splitlines()[-1])
    assert row["synthetic"] == {"generator": "fake at 127.0.0.1", "license": "test-terms", "recipe": "rephrase"}
    assert json.loads((tmp_path / "out" / "synthetic.json").read_text())["license"] == "test-terms"
    assert data_licenses(tmp_path / "out") == {"synthesize": "test-terms"}


def test_the_licence_of_a_file_of_seeds_stands_beside_the_generators(examples: Path, tmp_path: Path):
    """A rephrased row has the seed's own answer."""
    text = "Tell me something about the kitchen, the garden or the animals, please."
    seeds = PromptFile(path=examples / "sft.jsonl", license="CC-BY-NC-4.0")
    made(examples, tmp_path / "out", lambda asked: text, seeds=seeds)
    row = json.loads((tmp_path / "out" / "sft.jsonl").read_text().splitlines()[-1])
    assert row["messages"][1]["content"] in SEEDS.values()
    licenses = {"license": "test-terms", "seeds_license": "CC-BY-NC-4.0"}
    assert row["synthetic"] == {"generator": "fake at 127.0.0.1", **licenses, "recipe": "rephrase"}
    assert data_licenses(tmp_path / "out") == {"synthesize": "test-terms", "synthesize.seeds": "CC-BY-NC-4.0"}
    made(examples, tmp_path / "again", lambda asked: text, seeds=PromptFile(path=examples / "sft.jsonl"))
    assert data_licenses(tmp_path / "again")["synthesize.seeds"] == "unknown"


def test_an_endpoint_without_terms_and_a_model_without_a_path_are_refused():
    with pytest.raises(ValueError, match=r"synthesize\.license is missing"):
        SynthesizeConfig(generator=EndpointJudge(url="https://x.org", model="m"))
    with pytest.raises(ValueError, match="needs a path"):
        SynthesizeConfig(generator=ModelJudge())


def test_written_rows_teach_sft_and_nothing_else(tmp_path: Path):
    from flows.data import data
    from flows.train import train
    from gristmill.store import ArtifactStore
    from tasks.stage import Session, session

    text = tmp_path / "pages.jsonl"
    text.write_text(json.dumps({"text": "A page."}) + "\n")
    config = PipelineConfig.model_validate(
        {
            "ingest": {"sources": [{"kind": "jsonl", "name": "pages", "paths": [str(text)]}]},
            "examples": {"source": {"packages": ["stdlib"], "max_modules": 1}},
            "synthesize": {
                "generator": {"kind": "endpoint", "url": "https://x.org", "model": "m"},
                "license": "MIT",
            },
        }
    )
    planned = Session(store=ArtifactStore(tmp_path / "store"), planning=True)
    with session(planned):
        train(config, data(config))
    inputs = {step.label: step.recipe.inputs for step in planned.steps if step.recipe}
    addresses = {step.label: step.address for step in planned.steps}
    assert inputs["sft"]["examples"] == addresses["synthesize"]
    assert inputs["synthesize"]["examples"] == addresses["examples"]
    assert inputs["align"]["examples"] == inputs["evaluate[sft]"]["examples"] == addresses["examples"]
