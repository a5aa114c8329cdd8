import pytest

from gristmill.crawl.licenses import all_allowed, is_license_file, license_of_text, spdx_tag

MIT = (
    "Copyright (c) 2024 A\n\nPermission is hereby granted, free of charge, to any person\nobtaining a copy of this "
    "software and associated documentation"
)
BSD = "Redistribution and use in source and binary forms, with or without\nmodification, are permitted"
ISC = (
    "Permission to use, copy, modify, and/or distribute this software for any\npurpose with or without fee is hereby "
    "granted"
)


@pytest.mark.parametrize(
    ("text", "spdx"),
    [
        (MIT, "MIT"),
        (f"{BSD}\n3. Neither the name of the copyright holder", "BSD-3-Clause"),
        (f"{BSD}\n3. All advertising materials mentioning features", "BSD-4-Clause"),
        (BSD, "BSD-2-Clause"),
        (f"{ISC}, provided that the above copyright notice", "ISC"),
        (f"{ISC}.", "0BSD"),
        (
            "                                 Apache License\n                           Version 2.0, January 2004",
            "Apache-2.0",
        ),
        (
            "GNU GENERAL PUBLIC LICENSE\n Version 3, 29 June 2007 ... GNU Affero General Public License version 3",
            "GPL-3.0",
        ),
        ("GNU LESSER GENERAL PUBLIC LICENSE\nVersion 3 ... GNU General Public License, version 3", "LGPL-3.0"),
        ("This is free and unencumbered software released into the public domain.", "Unlicense"),
        ("// SPDX-License-Identifier: (GPL-2.0 OR MIT)\n", "GPL-2.0 OR MIT"),
        ("All rights reserved.", None),
        ("", None),
    ],
)
def test_a_licence_is_known_by_its_tag_title_or_wording(text, spdx):
    assert license_of_text(text) == spdx


def test_a_tag_further_down_is_not_the_files_own():
    assert spdx_tag("x\n" * 2_000 + "SPDX-License-Identifier: MIT") is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("LICENSE", True),
        ("LICENCE.md", True),
        ("LICENSE-MIT", True),
        ("COPYING.LESSER", True),
        ("UNLICENSE", True),
        ("license.py", False),
        ("licensed.txt", False),
        ("README.md", False),
    ],
)
def test_a_licence_file_is_known_by_its_name(name, expected):
    assert is_license_file(name) is expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", True),
        ("MIT OR Apache-2.0", True),
        ("MIT AND GPL-3.0", False),
        ("GPL-3.0 OR MIT", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("(MIT OR Apache-2.0) AND a licence (of ours)", True),
        ("(MIT OR GPL-3.0) AND Apache-2.0", False),
        ("unknown", False),
    ],
)
def test_every_licence_of_an_expression_must_be_allowed(expression, expected):
    assert all_allowed(expression, {"MIT", "Apache-2.0", "a licence (of ours)"}) is expected
