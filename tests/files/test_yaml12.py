import json
import math

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samattn_cli.encoder.tree import Node
from samattn_cli.errors import ConfigError
from samattn_cli.files import yaml12
from samattn_cli.files.yaml12 import MAX_BYTES, MAX_DEPTH, MAX_NODES, parse_yaml, resolve_scalar
from tests.support.problems import problems_of as known_problems
from tests.support.sampling import examples


def value_of(text):
    return parse_yaml(f"key: {text}", "f.yaml").value["key"].value


def plain(text):
    return parse_yaml(text, "f.yaml").plain()


def problems_of(text, **options):
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "f.yaml", **options)
    return known_problems(caught)


def place(where):
    return where.line, where.column


SCALARS = [
    ("no", "no"),
    ("yes", "yes"),
    ("on", "on"),
    ("off", "off"),
    ("No", "No"),
    ("y", "y"),
    ("true", True),
    ("True", True),
    ("TRUE", True),
    ("false", False),
    ("False", False),
    ("FALSE", False),
    ("tRUE", "tRUE"),
    ("~", None),
    ("null", None),
    ("Null", None),
    ("NULL", None),
    ("", None),
    ("nULL", "nULL"),
    ("0", 0),
    ("-0", 0),
    ("+5", 5),
    ("-5", -5),
    ("017", 17),
    ("0o17", 15),
    ("0o18", "0o18"),
    ("0x1F", 31),
    ("0xg", "0xg"),
    ("-0x1F", "-0x1F"),
    ("0b11", "0b11"),
    ("1_000", "1_000"),
    ("1,000", "1,000"),
    ("22:22", "22:22"),
    ("1:30:00", "1:30:00"),
    ("2026-11-22", "2026-11-22"),
    ("1e3", 1000),
    ("1E+3", 1000),
    ("1e22", 10**22),
    ("5e-1", 0.5),
    ("1.5e3", 1500.0),
    ("12.0", 12.0),
    ("4.", 4.0),
    (".5", 0.5),
    ("-.5", -0.5),
    (".", "."),
    ("e3", "e3"),
    ("1e", "1e"),
    ("--1", "--1"),
    ("١٢", "١٢"),
    (".inf", math.inf),
    (".Inf", math.inf),
    ("+.INF", math.inf),
    ("-.inf", -math.inf),
    ("inf", "inf"),
    ("nan", "nan"),
    ("sam_vit_b", "sam_vit_b"),
]


@pytest.mark.parametrize(("text", "meaning"), SCALARS)
def test_plain_scalars_mean_what_the_core_schema_says(text, meaning):
    found = resolve_scalar(text)
    assert (type(found), found) == (type(meaning), meaning)


@pytest.mark.parametrize(("text", "meaning"), SCALARS)
def test_scalars_mean_the_same_as_values_in_a_document(text, meaning):
    found = value_of(text)
    assert (type(found), found) == (type(meaning), meaning)


@pytest.mark.parametrize("text", [".nan", ".NaN", ".NAN"])
def test_nan_is_a_number(text):
    assert math.isnan(resolve_scalar(text))


@pytest.mark.parametrize("text", ["9" * 301, "0x" + "f" * 1000, "0o" + "7" * 400, "1e999", "1.0e999"])
def test_numbers_too_large_are_infinite_and_do_not_raise(text):
    assert resolve_scalar(text) == math.inf


def test_a_huge_negative_integer_is_minus_infinity():
    assert resolve_scalar("-" + "9" * 5000) == -math.inf


def test_exponents_below_the_cap_stay_exact_or_finite():
    assert resolve_scalar("9" * 300) == int("9" * 300)
    assert resolve_scalar("0x" + "f" * 298) == 16**298 - 1
    assert resolve_scalar("-1e999") == -math.inf
    assert resolve_scalar("1e-999") == 0


@pytest.mark.parametrize("text", ["'12'", '"12"', "! 12", "! '12'", "|-\n  12", ">-\n  12"])
def test_quoted_and_block_scalars_stay_text(text):
    assert value_of(text) == "12"


@pytest.mark.parametrize("quoted", ["''", '""', "'null'", '"~"', "'true'", '".inf"'])
def test_quoted_words_stay_text(quoted):
    assert value_of(quoted) == quoted[1:-1]


def test_keys_stay_text():
    assert plain("1: a\ntrue: b\nnull: c\n0x1F: d\n") == {"1": "a", "true": "b", "null": "c", "0x1F": "d"}


def test_lists_become_tuples_and_mappings_keep_their_order():
    assert list(plain("b: [1, [2, x]]\na:\n- {c: no}\n").items()) == [
        ("b", (1, (2, "x"))),
        ("a", ({"c": "no"},)),
    ]


def test_values_and_keys_know_their_line_and_column_in_block_style():
    root = parse_yaml(
        "# comment\n\nimage_size: 1024\nrun:\n  dtype:   float16\nsizes:\n  - 7\n  -   8\n", "f.yaml"
    )
    image, run, sizes = root.value["image_size"], root.value["run"], root.value["sizes"]
    assert place(root.where) == (3, 1)
    assert (place(image.key_where), place(image.where)) == ((3, 1), (3, 13))
    assert (place(run.key_where), place(run.where)) == ((4, 1), (5, 3))
    assert (place(run.value["dtype"].key_where), place(run.value["dtype"].where)) == ((5, 3), (5, 12))
    assert [place(item.where) for item in sizes.value] == [(7, 5), (8, 7)]
    assert sizes.value[0].key_where is None


def test_values_and_keys_know_their_line_and_column_in_flow_style():
    root = parse_yaml("{a: 1, b: [2,\n  3], c: {d: 4}}", "f.yaml")
    a, b, c = root.value["a"], root.value["b"], root.value["c"]
    assert (place(a.key_where), place(a.where)) == ((1, 2), (1, 5))
    assert (place(b.key_where), place(b.where)) == ((1, 8), (1, 11))
    assert [place(item.where) for item in b.value] == [(1, 12), (2, 3)]
    assert place(c.value["d"].where) == (2, 14)


def test_columns_count_characters_and_not_bytes():
    node = parse_yaml("{'é€😀': 1}", "f.yaml").value["é€😀"]
    assert (place(node.key_where), place(node.where)) == ((1, 2), (1, 9))


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_every_kind_of_line_end_counts_as_one_line(newline):
    assert place(parse_yaml(newline.join(["a: 1", "", "b: 2"]), "f.yaml").value["b"].where) == (3, 4)


def test_a_missing_value_stands_after_its_colon():
    node = parse_yaml("a:\nb: 1", "f.yaml").value["a"]
    assert node.value is None
    assert place(node.where) == (1, 3)


def test_a_place_reads_as_file_line_column():
    root = parse_yaml("a: 1", "dir/f.yaml")
    assert str(root.value["a"].where) == "dir/f.yaml:1:4"


def test_the_value_of_an_option_has_no_line_and_column():
    root = parse_yaml("[1, x]", "--set a=[1, x]", located=False)
    assert str(root.value[1].where) == "--set a=[1, x]"
    assert problems_of("[1", located=False) == ["f.yaml: [invalid-yaml] flow sequence"]


def test_every_duplicate_key_is_reported_with_the_place_of_the_first():
    text = "a: 1\nb: 2\na: 3\nc:\n  d: 4\n  d: 5\na: 6\n'b': 7\n"
    assert problems_of(text) == [
        "f.yaml:3:1: [duplicate-key] 'a' f.yaml 1",
        "f.yaml:6:3: [duplicate-key] 'd' f.yaml 5 3",
        "f.yaml:7:1: [duplicate-key] 'a' f.yaml 1",
        "f.yaml:8:1: [duplicate-key] 'b' f.yaml 2 1",
    ]


def test_the_same_key_in_two_mappings_is_not_a_duplicate():
    assert plain("a: {x: 1}\nb: {x: 2}") == {"a": {"x": 1}, "b": {"x": 2}}


def test_a_duplicate_in_the_value_of_an_option_is_reported_without_a_place():
    assert problems_of("{a: 1, a: 2}", located=False) == ["f.yaml: [duplicate-key] 'a'"]


def test_problems_stand_in_the_order_of_the_file_when_one_lies_inside_another():
    text = "a: 1\na: {b: 1, b: 2}\n? [x]\n: !!int 3\n? !foo y\n: 1\n"
    assert problems_of(text) == [
        "f.yaml:2:1: [duplicate-key] 'a' f.yaml 1",
        "f.yaml:2:11: [duplicate-key] 'b' f.yaml 2 5",
        "f.yaml:3:3: [not-a-key] 'embed_dim'",
        "f.yaml:4:3: [tag-not-allowed] '!!int'",
        "f.yaml:5:3: [tag-not-allowed] '!foo'",
    ]


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        ("!!int 3", "!!int"),
        ("!!str 3", "!!str"),
        ("!!python/object/apply:os.system ['true']", "!!python/object/apply:os.system"),
        ("!mine 3", "!mine"),
        ("!<tag:example.org,2026:x> 3", "tag:example.org,2026:x"),
        ("!!set {a}", "!!set"),
    ],
)
def test_tags_are_rejected_as_they_are_written(value, tag):
    assert problems_of(f"key: {value}") == [f"f.yaml:1:6: [tag-not-allowed] '{tag}'"]


@pytest.mark.parametrize(
    "text", ["a: !%ED%A0%80 x", "a: !%F5%80%80%80 x", "%TAG !e! tag:%ED%A0%80\n---\na: !e!x 1"]
)
def test_a_tag_that_is_not_text_is_reported_and_not_raised_as_unicode_error(text):
    assert problems_of(text) == ["f.yaml: [invalid-yaml]"]


def test_merge_keys_are_rejected():
    assert problems_of("base: &b {x: 1}\nrun:\n  <<: *b\n  y: 2\n") == [
        "f.yaml:3:3: [merge-key] 1.2 'extends:'"
    ]


@pytest.mark.parametrize("key", ["[a, b]", "{a: b}", "&k [a]"])
def test_a_key_must_be_a_word(key):
    assert problems_of(f"? {key}\n: 1\n") == ["f.yaml:1:3: [not-a-key] 'embed_dim'"]


def test_an_alias_as_a_key_is_rejected():
    assert problems_of("a: &k x\n*k : 1\n") == ["f.yaml:2:1: [not-a-key] 'embed_dim'"]


def test_messages_do_not_let_control_characters_of_the_file_through():
    message = problems_of('"\\e[31m": 1\n"\\e[31m": 2\n')[0]
    assert message == "f.yaml:2:1: [duplicate-key] '\\x1b[31m' f.yaml 1"


def test_aliases_stand_for_what_they_name():
    assert plain("a: &x {c: [1, 2]}\nb: *x\nd: [*x, *x]\n") == {
        "a": {"c": (1, 2)},
        "b": {"c": (1, 2)},
        "d": ({"c": (1, 2)}, {"c": (1, 2)}),
    }


def test_an_alias_keeps_the_place_of_the_value_and_has_a_key_of_its_own():
    node = parse_yaml("a: &x 7\nb: *x\n", "f.yaml").value["b"]
    assert (place(node.where), place(node.key_where)) == ((1, 4), (2, 1))


def test_an_anchor_may_be_set_again():
    assert plain("a: &x 1\nb: *x\nc: &x 2\nd: *x\n") == {"a": 1, "b": 1, "c": 2, "d": 2}


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("a: *x", "1:4", "before"),
        ("a: *x\nb: &x 1", "1:4", "before"),
        ("&x [*x]", "1:5", "itself"),
        ("a: &x\n  b: {c: *x}", "2:10", "itself"),
    ],
)
def test_undefined_and_recursive_aliases_are_reported(text, where, what):
    assert problems_of(text) == [f"f.yaml:{where}: [bad-alias] '*x' {what}"]


def test_an_alias_bomb_is_stopped():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    found = problems_of("\n".join(lines))
    assert found == ["f.yaml:4:45: [too-many-values] 10,000"]


def test_as_many_values_as_the_cap_are_allowed_and_no_more():
    assert len(plain(f"[{'1,' * (MAX_NODES - 1)}]")) == MAX_NODES - 1
    assert problems_of(f"[{'1,' * MAX_NODES}]") == [f"f.yaml:1:{2 * MAX_NODES}: [too-many-values] 10,000"]


@pytest.mark.parametrize(
    ("value", "size"), [(f"[{'1,' * 99}]", 100), (f"{{{','.join(f'k{i}: 1' for i in range(49))}}}", 99)]
)
def test_an_aliased_value_counts_in_full_each_time(value, size):
    fits = (MAX_NODES - 1) // size
    assert len(plain(f"[&x {value}, {'*x,' * (fits - 1)}]")) == fits
    (problem,) = problems_of(f"[&x {value}, {'*x,' * fits}]")
    assert problem == f"{problem.where}: [too-many-values] 10,000"


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{a: ", "}")])
def test_nesting_is_allowed_up_to_the_cap_and_no_deeper(opening, closing):
    def nested(depth):
        return opening * (depth - 1) + "x" + closing * (depth - 1)

    node = parse_yaml(nested(MAX_DEPTH), "f.yaml")
    for _ in range(MAX_DEPTH - 1):
        node = node.value["a"] if isinstance(node.value, dict) else node.value[0]
    assert node.value == "x"
    column = len(opening) * (MAX_DEPTH - 1) + 2
    assert problems_of(nested(MAX_DEPTH + 1)) == [f"f.yaml:1:{column}: [too-deep] 32"]


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "? " * 100_000])
def test_absurd_nesting_stops_at_the_cap(text):
    problem = problems_of(text)[-1]
    assert problem == f"{problem.where}: [too-deep] 32"


def test_text_is_allowed_up_to_one_mebibyte_and_no_larger():
    text = "a: 1 #"
    assert plain(text + "." * (MAX_BYTES - len(text))) == {"a": 1}
    too_large = ["f.yaml: [file-too-large] 1,048,576"]
    assert problems_of(text + "." * (MAX_BYTES - len(text) + 1)) == too_large
    assert problems_of("é" * (MAX_BYTES // 2 + 1)) == too_large


@pytest.mark.parametrize(
    ("text", "where"),
    [("a: 1\n---\nb: 2\n", "2:1"), ("--- a\n--- b\n--- c\n", "2:1"), ("a: 1\n...\n---\nb: 2\n", "3:1")],
)
def test_a_second_document_is_rejected(text, where):
    assert problems_of(text) == [f"f.yaml:{where}: [several-documents]"]


def test_one_document_may_have_its_markers():
    assert plain("%YAML 1.2\n---\na: 1\n...\n") == {"a": 1}


@pytest.mark.parametrize("text", ["", "\n\n", "   ", "# a comment\n", "\ufeff"])
def test_text_without_a_document_is_empty(text):
    assert problems_of(text) == ["f.yaml: [empty-file] embed_dim 768"]


@pytest.mark.parametrize("text", ["---\n", "~", "--- # nothing\n"])
def test_a_document_without_a_value_is_null(text):
    assert parse_yaml(text, "f.yaml").value is None


@pytest.mark.parametrize("character", ["\0", "\x01", "\x07", "\x1b", "\x7f", "\x80", "\ufffe", "\ud800"])
def test_control_characters_are_not_yaml(character):
    assert problems_of(f"a: x{character}y") == ["f.yaml: [binary-file]"]


@pytest.mark.parametrize("text", ["a: 'é€😀'", "a: 'tab\there'", "a: 'b\x85 c'", "\ufeffa: 1"])
def test_text_beyond_ascii_is_allowed(text):
    assert set(plain(text)) == {"a"}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: b: c", "1:5"),
        ("a: 1\n  b: 2", "2:4"),
        ("a: @x", "1:4"),
        ("a: `x", "1:4"),
        ("a: %x", "1:4"),
        ("\ta: 1", "1:1"),
        ("- a\nb: 1", "2:1"),
        ("a: 1\n- b", "2:1"),
        ("a: [1, 2", None),
        ("a: {b: 1", None),
        ("a: [1, 2}", "1:9"),
        ("a: 'x", None),
        ("a: ]", "1:4"),
        ("a: 1\n...\nb: 2", "3:1"),
        ("a: !nope!x 1", "1:4"),
        ("%YAML 2.0\n---\na: 1", "1:1"),
        ("a: &", None),
    ],
)
def test_syntax_errors_say_where(text, where):
    (problem,) = problems_of(text)
    assert problem == f"{problem.where}: [invalid-yaml]"
    assert len(problem.message.partition(": ")[2]) > len("found")  # PyYAML's words
    if where is None:  # the end of the text: the parsers written in C and in Python count it one line apart
        assert problem.where in {
            f"f.yaml:{line}:{column}" for line, column in ((1, len(text) + 1), (2, 1), (1, len(text)))
        }
    else:
        assert problem.where == f"f.yaml:{where}"


def test_a_syntax_error_does_not_hide_the_problems_before_it():
    found = problems_of("a: 1\na: 2\nb: !!int 3\nc: @x\nd: 1\nd: 2\n")
    assert found[:2] == [
        "f.yaml:2:1: [duplicate-key] 'a' f.yaml 1",
        "f.yaml:3:4: [tag-not-allowed] '!!int'",
    ]
    assert found[2] == "f.yaml:4:4: [invalid-yaml]"
    assert len(found) == 3


def test_every_problem_is_one_of_the_errors_problems():
    with pytest.raises(ConfigError) as caught:
        parse_yaml("a: 1\na: 2\n", "f.yaml")
    (problem,) = caught.value.problems
    assert (problem.where, caught.value.codes) == ("f.yaml:2:1", ("duplicate-key",))
    assert str(caught.value) == f"f.yaml:2:1: {problem.message} [duplicate-key]"


def split(text):
    return text.split()


WORDS = split("a b depth 1 017 0x1F 1e999 .inf .nan ~ null yes é 😀 --- ...")
MARKS = split(
    "[ ] { } , : - ? | |- > ' \" # & * ! !!int !x !<y> !%ED%A0%80 !%FF @ ` % = \\ \\u \\x7 \\UFFFFFFFF"
)
SPACED = [f"{mark} " for mark in split("- ? : &a *a &b *b <<: !!int !e!x # ,")]
LINES = ["\n  ", "\n    ", "\r\n", "\n- ", "\na: ", "%YAML 1.2\n", "%TAG !e! x\n", "---\n"]
CHARACTERS = list(" \n\t\r\0\x01\x7f\x85\u2028\ufeff\ufffe\ud800")
TOKENS = [*WORDS, *MARKS, *SPACED, *LINES, *CHARACTERS, "9" * 400]
yaml_like = st.lists(st.sampled_from(TOKENS), max_size=25).map("".join)
any_text = st.text(st.characters(codec=None, categories=None)) | st.text(alphabet=" \n:-[]{}&*!|>'\"#%ab1.?,")


def assert_a_node_or_a_config_error(text):
    try:
        node = parse_yaml(text, "f.yaml")
    except ConfigError as error:
        found = error.problems
    else:
        assert isinstance(node, Node)
        node.plain()
        return
    assert found
    assert all(problem.where.startswith("f.yaml") and problem.message for problem in found)


@settings(
    max_examples=examples(1500), derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(yaml_like | any_text)
def test_any_text_gives_a_node_or_a_config_error(text):
    assert_a_node_or_a_config_error(text)


@settings(
    max_examples=examples(400), derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(yaml_like | any_text)
def test_so_it_does_where_pyyaml_was_built_without_its_c_parser(text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml12, "_Loader", yaml.SafeLoader)
        assert_a_node_or_a_config_error(text)


@settings(max_examples=examples(500), derandomize=True, deadline=None)
@given(
    st.integers(-(10**30), 10**30)
    | st.booleans()
    | st.none()
    | st.floats(allow_nan=False, allow_infinity=False)
)
def test_numbers_written_as_json_come_back(value):
    assert resolve_scalar(json.dumps(value)) == value
