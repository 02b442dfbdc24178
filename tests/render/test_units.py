import pytest

from samattn_cli.units import (
    format_bytes,
    format_change,
    format_count,
    format_exact,
    format_growth,
    format_percent,
    format_ratio,
    format_share,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 K"),
        (637_026_048, "637.0 M"),
        (179_760_000_000, "179.8 G"),
        (5_961_082_830_848, "5.96 T"),
        (10**25, "1.00e+07 E"),
        (999_999, "1.00 M"),
        (99_996, "100.0 K"),
        (999_949_999, "999.9 M"),
    ],
)
def test_counts_take_decimal_prefixes(value, text):
    assert format_count(value) == text


def test_a_unit_follows_its_prefix():
    assert format_count(3_435_973_836_800, "FLOP") == "3.44 TFLOP"
    assert format_count(12, "FLOP") == "12 FLOP"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (-1536, "-1.50 KiB"),
        (1023, "1,023 B"),
        (1024, "1.00 KiB"),
        (67_108_864, "64.00 MiB"),
        (8 * 10**9, "7.45 GiB"),
        (1024**2 - 1, "1.00 MiB"),
        (1018 * 1024**2 - 200_000, "1,018 MiB"),
        (1024**3 - 300_000, "1.00 GiB"),
    ],
)
def test_bytes_take_binary_prefixes(value, text):
    assert format_bytes(value) == text


def test_every_digit_is_grouped():
    assert format_exact(54_894_929_419.5, "B") == "54,894,929,419.5 B"
    assert format_exact(54_894_929_419.0, "B") == "54,894,929,419 B"


def test_shares_changes_and_ratios():
    assert format_percent(0.94276) == "94.28 %"
    assert format_change(0.9428) == "-94.28 %"
    assert format_change(-0.5) == "+50.00 %"
    assert format_change(0.0) == "0.00 %"
    assert format_change(0.00001) == "0.00 %"
    assert format_ratio(17.468) == "17.47x"
    assert format_ratio(21_905_075.8) == "2.19e+07x"


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.5, "+50.00 %"), (0, "0.00 %"), (16_000 / 637_026_048, "+0.003 %"), (-1e-8, "-0.000001 %")],
)
def test_a_change_has_a_digit_that_is_not_0(share, text):
    assert format_growth(share) == text
    assert share == 0 or format_share(share, "+") == text
