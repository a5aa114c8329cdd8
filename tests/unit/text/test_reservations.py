"""What a page says of its own use."""

import time

import pytest

from gristmill.text.reservations import HEAD_CHARS, ReservationConfig, reserved

ALL = ReservationConfig(noimageai=True, noindex=True)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["noai, noimageai"], "opt_out:noai"),
        (["nofollow", "NoAI"], "opt_out:noai"),
        (["noml"], "opt_out:noai"),
        (["noimageai"], "opt_out:noimageai"),
        (["noindex"], "opt_out:noindex"),
        (["none"], "opt_out:noindex"),
        (["googlebot: noindex, noai"], None),
        (["googlebot: nofollow, ccbot: noai"], "opt_out:noai"),
        (["CCBot: noai"], "opt_out:noai"),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST, noindex"], "opt_out:noindex"),
        (["max-snippet: -1, noindex"], "opt_out:noindex"),
        (["all"], None),
        (["noaid"], None),
        ([], None),
    ],
)
def test_directives_for_robots_in_headers(values, found):
    answer = reserved({"x-robots-tag": values}, "", ALL)
    assert (answer and answer[0]) == found


@pytest.mark.parametrize(
    ("markup", "found"),
    [
        ('<meta name="robots" content="index, noai">', ("opt_out:noai", "meta robots: noai")),
        ("<META CONTENT='noai' NAME=robots/>", ("opt_out:noai", "meta robots: noai")),
        ('<meta name="CCBot" content="noindex nofollow">', ("opt_out:noindex", "meta ccbot: noindex")),
        ('<meta name="robots" content="no&#97;i">', ("opt_out:noai", "meta robots: noai")),
        ('<meta name="a" content=">"><meta name="robots" content="noai">', ("opt_out:noai", "meta robots: noai")),
        ('<meta name="googlebot" content="noai">', None),
        ('<meta name="description" content="noai">', None),
        ('<!-- <meta name="robots" content="noai"> -->', None),
        ('<meta name="tdm-reservation" content="1">', ("opt_out:tdm_reservation", "meta tdm-reservation: 1")),
        ('<meta name="tdm-reservation" content="0">', None),
        ("a text about noai and tdm-reservation", None),
    ],
)
def test_directives_and_reservations_in_elements(markup, found):
    assert reserved({}, f"<html><head>{markup}</head>", ALL) == found


def test_text_and_data_mining_is_reserved_where_header_or_element_says_so():
    element = '<meta name="tdm-reservation" content="0">'
    assert reserved({"tdm-reservation": ["1"]}, element, ALL) == ("opt_out:tdm_reservation", "tdm-reservation: 1")
    # other values are errors of the protocol, taken for unset
    assert reserved({"tdm-reservation": ["2"], "tdm-policy": ["https://a.org/policy.json"]}, "", ALL) is None


def test_an_element_behind_a_long_style_is_seen():
    markup = f"<head><style>{'a {{ color: red }}' * 8_000}</style><meta name=robots content='noai, noindex'></head>"
    assert reserved({}, markup, ALL) == ("opt_out:noai", "meta robots: noai")


def test_a_signal_counts_only_where_it_is_configured():
    headers = {"x-robots-tag": ["noai, noimageai, noindex"], "tdm-reservation": ["1"]}
    off = {"noai": False, "noimageai": False, "noindex": False, "tdm_reservation": False}
    assert reserved(headers, "", ReservationConfig.model_validate(off)) is None
    for name in off:
        answer = reserved(headers, "", ReservationConfig.model_validate(off | {name: True}))
        assert answer is not None
        assert answer[0] == f"opt_out:{name}"
    named = ReservationConfig(robots=["MyBot"])
    assert reserved({"x-robots-tag": ["mybot: noai"]}, "", named) == ("opt_out:noai", "X-Robots-Tag mybot: noai")


@pytest.mark.parametrize("piece", ['<meta "noai', "<meta name='noai", "<!--noai", "<meta noai ", "<meta x=noai '"])
def test_markup_made_to_be_slow_is_read_in_time_linear_in_its_length(piece):
    start = time.process_time()
    reserved({}, piece * (HEAD_CHARS // len(piece)), ALL)
    assert time.process_time() - start < 1  # some milliseconds; looking back from each piece takes seconds
