"""What the demo agent works with: the calculator, the cutting of markdown, the search."""

import time
from pathlib import Path

import pytest

from agent_ws.agents.demo.calculator import NotCalculable, calculate, expression
from agent_ws.agents.demo.documents import Documents, installed
from agent_ws.agents.demo.markdown import sections


@pytest.mark.parametrize(
    ("message", "value"),
    [
        ("what is 17 * (3 + 4)", "119"),
        ("What’s 20% of 150?", "30"),  # noqa: RUF001
        ("sqrt(2) ^ 10 %", "1.03526492384"),
        ("= 2**10", "1024"),
        ("17 % 5", "2"),
        ("1,000 x 3", "3000"),
        ("how much is max(1,200) - 1", "199"),
        ("calculate 0.1 + 0.2", "0.3"),
        ("-5 + 3", "-2"),
        ("√(2) × √(2)", "2"),  # noqa: RUF001
        ("1e3 / 4", "250"),
        ("5! + e - e", "120"),
        ("2^4000", "about 1.318204e+1204 (1205 digits)"),
        ("round(2.567, 2)", "2.57"),
    ],
)
def test_arithmetic_as_people_type_it(message: str, value: str) -> None:
    asked = expression(message)
    assert asked is not None
    assert calculate(asked) == value


@pytest.mark.parametrize(
    "message",
    [
        "what is 4404",
        "2026",
        "what is a run - and a session?",
        "hello",
        "",
        "=",
        "what is",
        "ab*cd",
        "close code 4401?",
    ],
)
def test_what_is_no_calculation(message: str) -> None:
    assert expression(message) is None


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("1/0", "divides by zero"),
        ("= foo + 1", "don't know the name `foo`"),
        ("= sqt(2)", "don't know the function `sqt`.*`sqrt`"),
        ("what is 17 * (3 + 4", "bracket or an operator missing"),
        ("(-8)^0.5", "among the real numbers"),
        ("log(0)", "not made for"),
        ("= 'a' * 10", "numbers only"),
        ("= [1] * 3", "numbers only"),
        ("= (1).__class__", "numbers only"),
        ("= (1).real", "numbers only"),
        ("= True + 1", "don't know the name `True`|numbers only"),
        ("= __import__('os')", "don't know the function"),
        ("= 1 << 2", "only know the operators"),
        ("= " + "1+" * 200 + "1", "at most 200 characters"),
    ],
)
def test_what_can_not_be_calculated_is_explained(message: str, said: str) -> None:
    asked = expression(message)
    assert asked is not None
    with pytest.raises(NotCalculable, match=said):
        calculate(asked)


@pytest.mark.parametrize(
    "monster",
    [
        "2**10**10",
        "9**9**9**9",
        "2**-10**9",
        "factorial(10**9)",
        "round(10**300, -10**9)",
        "1e308 * 10",
        "10.0**10**10",
        "(9**999)**(9**999)",
        "(10**1000)*(10**1000)",
        "(" * 199,
        "-" * 199,
    ],
)
def test_no_expression_takes_long(monster: str) -> None:
    began = time.perf_counter()
    with pytest.raises(NotCalculable):
        calculate(monster)
    assert time.perf_counter() - began < 1


TEXT = """\
# Title

Before any heading below. See [the wire](PROTOCOL.md) or [elsewhere](https://example.org).

## Fruit

- apples are red
- bananas
  are yellow

```python
# not a heading
fruit = "cherries"
```

### Prices

| fruit | price |
| --- | --- |
| apple | 3 |
| banana | 4 |
"""


@pytest.fixture
def documents(tmp_path: Path) -> Documents:
    (tmp_path / "FRUIT.md").write_text(TEXT)
    (tmp_path / "OTHER.md").write_text("# Other\n\nNothing to eat here, but a run_timeout and Ärger.\n")
    return Documents([tmp_path / "FRUIT.md", tmp_path / "OTHER.md"])


def test_markdown_is_cut_at_headings_and_nothing_is_lost() -> None:
    cut = list(sections("FRUIT.md", TEXT))
    assert [section.source for section in cut] == [
        "FRUIT.md › Title",  # noqa: RUF001
        "FRUIT.md › Fruit",  # noqa: RUF001
        "FRUIT.md › Fruit › Prices",  # noqa: RUF001
    ]
    assert cut[0].markdown() == "Before any heading below. See the wire or [elsewhere](https://example.org)."
    assert cut[1].markdown() in TEXT.replace("bananas\n  are", "bananas are")
    assert cut[2].markdown() in TEXT


def test_a_row_brings_its_tables_head() -> None:
    prices = list(sections("FRUIT.md", TEXT))[2]
    assert prices.markdown([1]) == "| fruit | price |\n| --- | --- |\n| banana | 4 |"


def test_the_best_blocks_of_the_best_section_come_first(documents: Documents) -> None:
    (passage,) = documents.search("What is the price of a banana?", limit=1)
    assert passage.section.heading == "Fruit › Prices"  # noqa: RUF001
    assert passage.text.endswith("| banana | 4 |")
    assert "apple" not in passage.text


def test_where_only_the_heading_fits_the_section_begins(documents: Documents) -> None:
    (passage,) = documents.search("title")
    assert passage.text.startswith("Before any heading")


def test_words_are_found_in_other_forms_and_without_accents(documents: Documents) -> None:
    assert documents.search("yellowing bananas")[0].section.heading == "Fruit"
    assert documents.search("arger")[0].section.file == "OTHER.md"
    assert documents.search("run_timeout")[0].section.file == "OTHER.md"


def test_skip_and_file_narrow_the_search(documents: Documents) -> None:
    everything = documents.search("fruit run_timeout", limit=9)
    assert documents.search("fruit run_timeout", limit=9, skip=1) == everything[1:]
    assert {passage.section.file for passage in everything} == {"FRUIT.md", "OTHER.md"}
    found = documents.search("fruit run_timeout", limit=9, file="OTHER.md")
    assert [passage.section.file for passage in found] == ["OTHER.md"]


def test_half_of_the_words_have_to_fit(documents: Documents) -> None:
    assert documents.search("red apples")
    assert not documents.search("red planets circle distant stars")


@pytest.mark.parametrize(
    "query",
    [
        *("", "?", '"', "'", "a OR b", "NOT", "NEAR(a b)", "file:x", "x*", "-x", "^x", "(", '") OR ("', "_", "___"),
        *("\x00", "🎉", "你好 привет", "\ud800", "x" * 10_000, "word " * 10_000, "{a b}: c", "a + b"),
        "'); DROP TABLE sections; --",
    ],
)
def test_no_message_breaks_the_query(documents: Documents, query: str) -> None:
    documents.search(query)
    assert documents.search("bananas")


def test_operators_are_only_words(documents: Documents) -> None:
    assert not documents.search('bananas" OR "nowhere NOT elsewhere somewhere')
    assert not documents.search("text:apples* whatever nowhere elsewhere")


def test_the_projects_own_documents_are_found() -> None:
    names = [path.name for path in installed()]
    assert names[:3] == ["README.md", "PROTOCOL.md", "DESIGN.md"]
    assert {"tutorial.md", "voice.md"} <= set(names)
    assert "index.md" not in names
    assert Documents().files() == names[:3]


def test_documents_inside_the_package_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pkg" / "docs").mkdir(parents=True)
    (tmp_path / "pkg" / "docs" / "README.md").write_text("inside")
    (tmp_path / "README.md").write_text("outside")
    monkeypatch.setattr("agent_ws.agents.demo.documents._package", str(tmp_path / "pkg" / "__init__.py"))
    assert installed() == [tmp_path / "pkg" / "docs" / "README.md"]
    (tmp_path / "pkg" / "docs" / "README.md").unlink()
    (tmp_path / "pkg" / "docs").rmdir()
    assert installed() == [tmp_path / "README.md"]


def test_a_paragraph_is_not_cut_where_its_file_wraps_it() -> None:
    (cut,) = sections(
        "a.md", "# A\n\nOne\ntwo.\n\n- three\n  four\n  - five\n\n```\nsix\nseven\n```\n\n> eight\n> nine\n"
    )
    assert cut.markdown() == "One two.\n\n- three four\n  - five\n\n```\nsix\nseven\n```\n\n> eight\n> nine"
