import gzip
import json
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_chat_model import answer, question

from gristmill.align.data import Dropped, half_of, read_conversations, read_labelled, read_pairs, write_dropped
from gristmill.align.rows_config import ArtifactRows, ExampleRows, FileRows, HubRows
from gristmill.dedup.decontaminate_config import DecontaminateConfig, ItemFile, KeptOut
from gristmill.schema import SourceUnavailable

REVISION = "0123456789abcdef0123456789abcdef01234567"


def write(path: Path, *rows: object) -> FileRows:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return FileRows(paths=[str(path)], held_out=0.5)


def alpaca(number: int) -> dict[str, str]:
    return {"instruction": f"Say {number}", "input": "", "output": str(number)}


def test_alpaca_fields_become_a_question_with_its_input_and_an_answer(tmp_path: Path):
    rows = [{"instruction": "Add", "input": f"1 + {n}", "output": str(n + 1)} for n in range(20)]
    read = read_conversations(write(tmp_path / "a.jsonl", *rows), None)
    by_question = {row.messages[0]["content"]: row.messages[1] for row in [*read.train, *read.held_out]}
    assert by_question["Add\n\n1 + 2"] == {"role": "assistant", "content": "3"}
    assert len(by_question) == 20


def test_a_row_is_read_once_and_its_copies_are_counted(tmp_path: Path):
    rows = [{**alpaca(n % 20), "id": n} for n in range(60)]
    read = read_conversations(write(tmp_path / "a.jsonl", *rows), None)
    assert len(read.train) + len(read.held_out) == 20
    assert {row.reason for row in read.dropped} == {"duplicate"}
    assert [row.row for row in read.dropped] == [f"a.jsonl:{number}" for number in range(21, 61)]
    assert read.rows == 60


def test_all_answers_to_a_prompt_train_or_all_are_held_out(tmp_path: Path):
    rows = [{"prompt": f"p{n % 20}", "completion": f"answer {n}"} for n in range(100)]
    read = read_conversations(write(tmp_path / "a.jsonl", *rows), None)
    train, held_out = ({row.messages[0]["content"] for row in part} for part in (read.train, read.held_out))
    assert len(read.train) + len(read.held_out) == 100
    assert not train & held_out


def test_all_continuations_of_a_conversation_are_on_one_side(tmp_path: Path):
    """The answer that a shorter row teaches is part of a longer row's prompt."""
    system = {"role": "system", "content": "Be brief."}
    turns = [[system, question(f"{n}"), answer("a"), question(f"more {n}"), answer("b")] for n in range(60)]
    rows = [{"messages": turn[:stop]} for turn in turns for stop in (3, 5)]
    read = read_conversations(write(tmp_path / "a.jsonl", *rows), None)
    train, held_out = ({row.messages[1]["content"] for row in part} for part in (read.train, read.held_out))
    assert len(train) + len(held_out) == 60
    assert not train & held_out
    assert min(len(train), len(held_out)) > 15


def test_of_a_row_in_both_files_of_an_artifact_the_held_out_copy_is_kept(tmp_path: Path):
    rows = [{"messages": [question(name), answer(name)]} for name in ("a", "b", "c")]
    write(tmp_path / "sft.jsonl", *rows)
    write(tmp_path / "sft_held_out.jsonl", *rows[:2])
    read = read_conversations(ExampleRows(), tmp_path)
    assert [len(read.train), len(read.held_out)] == [1, 2]
    assert read.dropped == [Dropped("sft.jsonl:1", "duplicate"), Dropped("sft.jsonl:2", "duplicate")]


@pytest.mark.parametrize("source", [ExampleRows(), ArtifactRows(artifact="examples/examples-0123456789ab")])
def test_an_artifact_comes_with_its_own_held_out_rows(examples: Path, source: ExampleRows | ArtifactRows):
    read = read_conversations(source, examples)
    assert [len(read.train), len(read.held_out)] == [8, 4]
    assert read.train[0].messages == [question("sort"), answer("Return the sort of a list, in order.")]
    assert read.details() == {"formats": {"messages": 12}, "data_license": None}


def test_every_kind_of_file_holds_the_same_rows(tmp_path: Path):
    rows = [alpaca(n) for n in range(20)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "c.json").write_text(json.dumps(rows))
    (tmp_path / "d.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "e.parquet")
    memory = fsspec.filesystem("memory")
    memory.pipe("/rows/f.jsonl", lines.encode())
    places = [*(str(path) for path in sorted(tmp_path.iterdir())), "memory://rows/f.jsonl", "memory://rows/*.jsonl"]
    found = [read_conversations(FileRows(paths=[place], held_out=0.5), None) for place in places]
    texts = [[row.messages for row in (*split.train, *split.held_out)] for split in found]
    assert len(texts) == 7
    assert all(one == texts[0] for one in texts)
    assert FileRows(paths=["memory://rows/f.jsonl"]).content() == FileRows(paths=["memory://rows/*.jsonl"]).content()


def test_several_files_are_read_in_their_order_and_copies_between_them_dropped(tmp_path: Path):
    write(tmp_path / "a.jsonl", *[alpaca(n) for n in range(20)])
    write(tmp_path / "b.jsonl", *[alpaca(n) for n in range(10, 30)])
    read = read_conversations(FileRows(paths=[str(tmp_path / "*.jsonl")], held_out=0.3), None)
    assert len(read.train) + len(read.held_out) == 30
    assert [row.row for row in read.dropped] == [f"b.jsonl:{number}" for number in range(1, 11)]


def test_a_truncated_gzip_is_named(tmp_path: Path):
    path = tmp_path / "a.jsonl.gz"
    whole = gzip.compress("".join(json.dumps(alpaca(n)) + "\n" for n in range(500)).encode())
    path.write_bytes(whole[:-200])
    with pytest.raises(ValueError, match=r"a\.jsonl\.gz: damaged gzip after line \d+"):
        read_conversations(FileRows(paths=[str(path)]), None)


def test_empty_answers_are_left_out_counted_and_listed(tmp_path: Path):
    source = write(tmp_path / "a.jsonl", *[alpaca(n) for n in range(20)], {"instruction": "x", "output": " "})
    dropped = read_conversations(source, None).dropped
    assert write_dropped(dropped, tmp_path) == {"empty_answer": 1}
    assert (tmp_path / "dropped.jsonl").read_text() == '{"row": "a.jsonl:21", "reason": "empty_answer"}\n'


def test_a_row_with_half_a_character_is_left_out_counted_and_listed(tmp_path: Path):
    """A chat dump cut in the middle of an emoji has the first half of its UTF-16; no tokenizer takes that."""
    half = [{"prompt": "Hi \ud83d", "completion": "x"}, {"prompt": "Hi", "completion": "\ude00x"}]
    source = write(tmp_path / "a.jsonl", *[alpaca(n) for n in range(20)], *half, {"prompt": "😀", "completion": "😀"})
    read = read_conversations(source, None)
    assert read.dropped == [Dropped("a.jsonl:21", "not_unicode"), Dropped("a.jsonl:22", "not_unicode")]
    assert len(read.train) + len(read.held_out) == 21
    pairs = [{"prompt": f"p{n}", "chosen": "yes", "rejected": "no"} for n in range(20)]
    source = write(tmp_path / "b.jsonl", *pairs, {"prompt": "p", "chosen": "yes", "rejected": "\ud83d"})
    assert read_pairs(source, None).dropped == [Dropped("b.jsonl:21", "not_unicode")]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.jsonl", b'{"instruction": "x", "output": "y"}\n{not json\n', r"a\.jsonl:2: expected a JSON object on one"),
        ("a.jsonl", b"[1]\n", r"a\.jsonl:1: expected a JSON object, found a list"),
        ("a.json", b'[{"instruction": "x", "output": "y"}, 3]', r"a\.json:2: expected a JSON object, found a int"),
        ("a.json", b'{"instruction": "x"}', r"a\.json: expected a list of JSON objects, found one dict"),
        ("a.parquet", b"PAR1 no", r"a\.parquet: damaged Parquet after row 0"),
        ("a.csv", b"x,y\n", r"a\.csv: expected a file of rows that ends with one of \.jsonl"),
        ("a.json", b'[{"text": "x"}]', r"a\.json:1: found the fields text; expected `messages`"),
    ],
)
def test_a_file_that_is_no_list_of_rows_is_named(tmp_path: Path, name: str, content: bytes, complaint: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=complaint):
        read_conversations(FileRows(paths=[str(tmp_path / name)]), None)


def test_null_fields_of_parquet_are_as_if_absent(tmp_path: Path):
    rows = [{"prompt": f"p{n}", "completion": "yes", "messages": None} for n in range(20)]
    schema = pa.schema([("prompt", pa.string()), ("completion", pa.string()), ("messages", pa.string())])
    pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / "a.parquet")
    read = read_conversations(FileRows(paths=[str(tmp_path / "a.parquet")], held_out=0.5), None)
    assert read.details()["formats"] == {"prompt": 20}


def test_pairs_and_labels_come_from_the_same_file(tmp_path: Path):
    rows = [{"prompt": f"p{n}", "chosen": "good", "rejected": "bad"} for n in range(20)]
    source = write(tmp_path / "a.jsonl", *rows, {"prompt": "x", "chosen": "a", "rejected": "a"})
    pairs, labels = read_pairs(source, None), read_labelled(source, None)
    assert len(pairs.train) + len(pairs.held_out) == 20
    assert pairs.dropped == labels.dropped == [Dropped("a.jsonl:21", "equal_answers")]
    assert [(one.completion["content"], one.desirable) for one in labels.train[:2]] == [("good", True), ("bad", False)]
    assert len(labels.train) == 2 * len(pairs.train)


def test_a_file_too_small_to_hold_anything_out_says_so(tmp_path: Path):
    with pytest.raises(ValueError, match=r"a\.jsonl: . rows to train on and . held out"):
        read_conversations(write(tmp_path / "a.jsonl", alpaca(1)), None)


ASKED = "The seven ferrymen of Halvorsund sold how many lanterns before the winter fair?"


def benchmark(folder: Path) -> KeptOut:
    (folder / "quiz.jsonl").write_text(json.dumps({"id": "q7", "question": ASKED, "answer": "Forty two."}) + "\n")
    return KeptOut(DecontaminateConfig(benchmarks=[ItemFile(path=folder / "quiz.jsonl")]))


def test_a_row_that_holds_a_benchmark_item_does_not_train_and_is_named(tmp_path: Path):
    phrase = "Please read the text below with care and answer in one short sentence."
    rows = [{"prompt": f"{phrase} Task {n} is about thing {n * n}.", "completion": f"It is {n}."} for n in range(200)]
    told = [{"prompt": f"{n}. Quiz time! {ASKED.upper()} Think.", "completion": "42"} for n in range(6)]
    source = write(tmp_path / "a.jsonl", *rows, *told)
    without, checked = read_conversations(source, None), read_conversations(source, None, benchmark(tmp_path))
    trained = [row.row for row in without.train if "Quiz" in row.text]
    assert trained
    assert [row.row for row in without.train if row.row not in trained] == [row.row for row in checked.train]
    assert checked.dropped == [Dropped(row, "benchmark_item", "quiz:q7") for row in trained]
    assert checked.held_out == without.held_out
    assert write_dropped(checked.dropped, tmp_path) == {"benchmark_item": len(trained)}
    assert json.loads((tmp_path / "dropped.jsonl").read_text().splitlines()[0])["value"] == "quiz:q7"


@pytest.mark.parametrize("templates", [10, 40])
def test_a_benchmark_under_many_templates_is_found_in_all_of_them(tmp_path: Path, templates: int):
    rows = [{"prompt": f"You are expert {n}. {ASKED} ({n})", "completion": "42"} for n in range(templates)]
    other = [{"prompt": f"Name thing {n} of the old list.", "completion": f"{n}"} for n in range(60)]
    read = read_conversations(write(tmp_path / "a.jsonl", *rows, *other), None, benchmark(tmp_path))
    assert not [row.row for row in read.train if ASKED in row.text]
    assert {row.value for row in read.dropped} == {"quiz:q7"}


def test_a_benchmark_item_is_found_in_a_rejected_answer_and_among_the_held_out_examples(tmp_path: Path):
    (tmp_path / "held_out.jsonl").write_text(json.dumps({"id": "own", "text": ASKED, "summary": ""}) + "\n")
    pairs = [{"prompt": f"Say {n}", "chosen": f"{n}", "rejected": f"no {n}"} for n in range(40)]
    leaking = [{**pair, "rejected": f"{pair['rejected']} {ASKED}"} for pair in pairs]
    kept_out = KeptOut(DecontaminateConfig(), asked=tmp_path)
    clean = read_pairs(write(tmp_path / "a.jsonl", *pairs), None, kept_out)
    assert [row for row in clean.dropped if row.reason == "benchmark_item"] == []
    mixed = read_pairs(write(tmp_path / "b.jsonl", *leaking[:5], *pairs[5:]), None, kept_out)
    assert {row.value for row in mixed.dropped} == {"examples:own"}
    asked = [{**pair, "prompt": f"{number % 10}. {ASKED}"} for number, pair in enumerate(pairs)]
    with pytest.raises(ValueError, match=r"(\d+) of \1 rows to train on hold a benchmark item, such as examples:own"):
        read_labelled(write(tmp_path / "c.jsonl", *asked), None, kept_out)


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's local cache with one commit of one data set, as `hf download` leaves it; no network."""
    import huggingface_hub.constants

    snapshot = tmp_path / "hub/datasets--maker--rows/snapshots" / REVISION
    (snapshot / "data").mkdir(parents=True)
    (snapshot / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Rows\n")
    write(snapshot / "data/train.jsonl", *[alpaca(n) for n in range(20)])
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return snapshot


def test_a_data_set_of_the_hub_is_read_from_the_local_cache_and_its_card_states_the_licence(hub_cache: Path):
    source = HubRows(hub="maker/rows", revision=REVISION, files=["data/train*"], held_out=0.5)
    read = read_conversations(source, None)
    assert read.details() == {"formats": {"alpaca": 20}, "data_license": "CC-BY-4.0"}
    declared = source.model_copy(update={"license": "MIT"})
    assert read_conversations(declared, None).license == "MIT"


def test_a_test_split_of_the_hub_does_not_train_unless_it_is_named(hub_cache: Path):
    write(hub_cache / "data/test.jsonl", *[alpaca(n) for n in range(20, 40)])
    assert read_conversations(HubRows(hub="maker/rows", revision=REVISION, held_out=0.5), None).rows == 20
    both = HubRows(hub="maker/rows", revision=REVISION, held_out=0.5, files=["*.jsonl"])
    assert read_conversations(both, None).rows == 40


def test_a_data_set_that_is_not_there_says_how_to_bring_it(hub_cache: Path):
    with pytest.raises(SourceUnavailable, match="hf download maker/others --repo-type dataset --revision 0123"):
        read_conversations(HubRows(hub="maker/others", revision=REVISION), None)
    with pytest.raises(SourceUnavailable, match=r"maker/rows at 0123456 has none of the files \*\.csv"):
        read_conversations(HubRows(hub="maker/rows", revision=REVISION, files=["*.csv"]), None)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "read", "found", "dropped"),
    [
        ("sft/rasbt_instruction", read_conversations, {"alpaca": 1100}, {}),
        ("sft/gpteacher_code", read_conversations, {"alpaca": 1526}, {}),
        ("sft/dolly_hhrlhf_small", read_conversations, {"prompt": 584}, {}),
        ("preference/rasbt_preference", read_pairs, {"alpaca": 1094}, {"equal_answers": 6}),
        ("preference/dpo_en_ultrafeedback_style", read_pairs, {"sharegpt": 295}, {"duplicate": 5}),
        ("preference/hh_harmless_base", read_pairs, {"hh-rlhf": 1255}, {"empty_answer": 3, "out_of_turn": 6}),
    ],
)
def test_published_files_are_recognized(name: str, read, found: dict, dropped: dict, tmp_path: Path, shared_data: Path):
    split = read(FileRows(paths=[str(shared_data / f"{name}.jsonl.gz")]), None)
    assert split.details()["formats"] == found
    assert write_dropped(split.dropped, tmp_path) == dropped


def test_halves_share_no_prompt_and_lose_none(tmp_path: Path):
    more = [answer("and"), question("more")]
    rows = [{"prompt": [question(f"{n // 2}"), *more * (n % 2)], "chosen": f"a{n}", "rejected": "b"} for n in range(80)]
    pairs = read_pairs(write(tmp_path / "pairs.jsonl", *rows), None).train
    first, second = half_of(pairs, 0), half_of(pairs, 1)
    assert len(first) + len(second) == len(pairs) == len(half_of(pairs, None))
    assert min(len(first), len(second)) > len(pairs) / 4
    assert not {json.dumps(pair.prompt[0]) for pair in first} & {json.dumps(pair.prompt[0]) for pair in second}
