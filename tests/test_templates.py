from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from demosearch.demonstration import Demonstration
from demosearch.errors import UserError
from demosearch.prompt import Preparation, Prompt, Template
from demosearch.templates import (
    GROUPS,
    TEMPLATES,
    find_template,
    find_templates,
    read_template,
    search_templates,
)

SWISS = Demonstration(sentence="relating to switzerland or its people.", word="Swiss")


def test_unknown_template_lists_the_known() -> None:
    with pytest.raises(UserError, match="unknown template 'x'; known: prompteol, prompt-sth"):
        find_template("x")


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=lambda template: template.name)
def test_every_template_names_its_source_and_renders(template: Template) -> None:
    assert template.source
    rendered = Prompt(template).render("A cat sleeps.")
    assert rendered.count("A cat sleeps.") == (2 if template.name == "echo" else 1)
    assert "{" not in rendered
    if template.takes_demonstrations:
        shown = Prompt(template, (SWISS,)).render("A cat sleeps.")
        assert shown.endswith(rendered)
        assert shown.removesuffix(rendered) == template.render_demonstration(SWISS)


def test_wordings_are_the_authors() -> None:
    assert Prompt(TEMPLATES["pretended-cot"]).render("x") == (
        'After thinking step by step , this sentence : "x." means in one word:"'
    )
    assert (
        Prompt(TEMPLATES["knowledge"])
        .render("x")
        .endswith(
            'less central details. With this in mind , this sentence : "x." means in one word:"'
        )
    )
    assert Prompt(TEMPLATES["echo"]).render('a "b"') == (
        'Rewrite the sentence: a "b", rewritten sentence: a "b"'
    )


def test_metaeol_is_a_group_of_eight_templates() -> None:
    assert len(find_templates("metaeol")) == 8
    assert all(set(members) <= set(TEMPLATES) for members in GROUPS.values())
    with pytest.raises(
        UserError, match="must be a single template but got 'metaeol', which stands for 8"
    ):
        find_template("metaeol")


def write(path: Path, **fields: str) -> Path:
    path.write_text(yaml.safe_dump(fields))
    return path


def test_a_custom_template_is_read_from_a_file(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.yaml",
        query="{demonstrations}Le texte {text} en un mot:",
        demonstration="Le texte {text} en un mot: {word}\n",
        preparation="none",
    )
    template = find_template(str(path))
    assert template.name == "mine"
    assert template.preparation is Preparation.NONE
    assert Prompt(template, (SWISS,)).render("le chat") == (
        "Le texte relating to switzerland or its people. en un mot: Swiss\n"
        "Le texte le chat en un mot:"
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"demonstration": "{text}{word}"}, "query is missing"),
        ({"query": "no text"}, "'query' must contain {text} exactly once but contains it 0 times"),
        (
            {"query": "{text}", "demonstration": "{text}{word}"},
            "'query' must contain {demonstrations} before {text}",
        ),
        (
            {"query": "{demonstrations}{text}", "demonstration": "{text}"},
            "'demonstration' must contain {word} exactly once but contains it 0 times",
        ),
        ({"query": "{text}", "pooling": "first"}, "pooling must be last or mean but got 'first'"),
        ({"query": "{text}", "colour": "red"}, "unknown field 'colour'"),
    ],
)
def test_an_error_of_a_template_file_names_the_field(
    tmp_path: Path, fields: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError) as error:
        read_template(write(tmp_path / "bad.yaml", **fields))
    assert message in str(error.value)
    assert "bad" in str(error.value)


@pytest.mark.parametrize("text", ["query: [", "just text", "- a\n- b\n"])
def test_a_file_that_is_not_a_template_is_a_one_line_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"template .*bad\.yaml") as error:
        find_template(str(path))
    assert "\n" not in str(error.value)


def test_a_search_requires_templates_with_demonstrations_and_distinct_names(
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError, match="must take demonstrations but 'echo' takes none"):
        search_templates("echo")
    paths = [tmp_path / folder / "mine.yaml" for folder in ("a", "b")]
    for number, path in enumerate(paths):
        path.parent.mkdir()
        query = f"{{demonstrations}}Text {number}: {{text}} Word:"
        path.write_text(f'query: "{query}"\ndemonstration: "Text: {{text}} Word: {{word}} "\n')
    with pytest.raises(UserError, match="two templates are named 'mine'"):
        search_templates(",".join(map(str, paths)))


def test_a_search_selects_among_named_templates_or_all() -> None:
    named = search_templates("pretended-cot,knowledge,pretended-cot")
    assert [template.name for template in named] == ["pretended-cot", "knowledge"]
    names = [template.name for template in search_templates("all")]
    assert names[0] == "prompteol"
    assert "echo" not in names
    assert not any(name.startswith("metaeol") for name in names)
    with pytest.raises(UserError, match="unknown template 'nonsense'"):
        search_templates("prompteol,nonsense")
    with pytest.raises(UserError, match="which stands for 8"):
        search_templates("metaeol")
