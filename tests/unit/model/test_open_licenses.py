"""A licence is read from wherever a model states it, and by the name that SPDX gives it."""

import pytest

from gristmill.model.licenses import is_allowed, license_of_folder, normalized

MIT = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated"


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ("apache-2.0", "Apache-2.0"),
        ("MIT", "MIT"),
        ("cc-by-sa-4.0", "CC-BY-SA-4.0"),
        ("mit or gpl-3.0", "MIT OR GPL-3.0"),
        (["mit", "apache-2.0"], "Apache-2.0 AND MIT"),
        ("llama3.2", "llama3.2"),
        ("Gemma", "gemma"),
        ("other", "unknown"),
        (None, "unknown"),
        ([], "unknown"),
    ],
)
def test_a_stated_licence_gets_its_spdx_name_where_there_is_one(stated, name):
    assert normalized(stated) == name


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"README.md": "---\nlicense: apache-2.0\nlanguage: en\n---\nText"}, "Apache-2.0"),
        ({"README.md": "---\nlicense: other\nlicense_name: qwen-research\n---\n"}, "qwen-research"),
        ({"README.md": "---\nlicense: [mit, cc-by-4.0]\n---\n"}, "CC-BY-4.0 AND MIT"),
        ({"README.md": "---\n: : broken\n---\n", "LICENSE": MIT}, "MIT"),
        ({"README.md": "license: mit", "config.json": '{"license": "bsd-3-clause"}'}, "BSD-3-Clause"),
        ({"README.md": "---\nlicense: gemma\n---\n", "LICENSE": MIT}, "gemma"),
        ({"LICENSE.md": MIT, "config.json": "{}"}, "MIT"),
        ({"config.json": "{}"}, "unknown"),
    ],
)
def test_a_folder_states_its_licence_in_card_config_or_licence_file(tmp_path, files, found):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert license_of_folder(tmp_path) == found


def test_all_licences_of_an_expression_must_be_allowed_and_unknown_only_by_name():
    assert is_allowed("Apache-2.0", ["mit", "apache-2.0"])
    assert not is_allowed("Apache-2.0 AND gemma", ["Apache-2.0"])
    assert is_allowed("gemma", ["Gemma"])
    assert not is_allowed("unknown", ["Apache-2.0"])
    assert is_allowed("unknown", ["unknown"])
