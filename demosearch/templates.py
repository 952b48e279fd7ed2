"""The table of known templates, and custom templates.

The wordings are copied exactly from the publications, including spaces before commas. If a method uses
no demonstrations, the paper's form of demonstrations is put in front.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from demosearch._common.files import parse_yaml, read_text
from demosearch.errors import UserError, first_error
from demosearch.prompt import DEMONSTRATIONS, PROMPTEOL, TEXT, Pooling, Preparation, Template

DEFAULT_TEMPLATE = PROMPTEOL.name
ALL = "all"
_PRETENDED_COT = "arXiv 2404.03921, table 1, and its authors' code"
_METAEOL = "arXiv 2402.18458, table 1, and its authors' code"

TEMPLATES: dict[str, Template] = {
    template.name: template
    for template in (
        PROMPTEOL,
        Template(
            name="prompt-sth",
            query='This sentence : "{text}" means something',
            demonstration='This sentence : "{text}" means {word}.',
            source=_PRETENDED_COT,
        ),
        Template(
            name="prompt-sum",
            query='This sentence : "{text}" can be summarized as',
            demonstration='This sentence : "{text}" can be summarized as {word}.',
            source=_PRETENDED_COT,
        ),
        Template(
            name="pretended-cot",
            query='After thinking step by step , this sentence : "{text}" means in one word:"',
            source=_PRETENDED_COT,
        ),
        Template(
            name="knowledge",
            query="The essence of a sentence is often captured by its main subjects and actions,"
            " while descriptive terms provide additional but less central details. With this in mind"
            ' , this sentence : "{text}" means in one word:"',
            source=_PRETENDED_COT,
        ),
        Template(
            name="metaeol-topic",
            query="In this task, you're presented with a text excerpt. Your task is to categorize the"
            " excerpt into a broad category such as 'Education', 'Technology', 'Health', 'Business',"
            " 'Environment', 'Politics', or 'Culture'. These categories help in organizing content"
            ' for better accessibility and targeting. For this task, this sentence : "{text}" should'
            ' be classified under one general category in one word:"',
            source=_METAEOL,
        ),
        Template(
            name="metaeol-opinion",
            query="In this task, you're given a statement and you need to determine whether it's"
            " presenting an 'Opinion' or a 'Fact'. This distinction is vital for information"
            " verification, educational purposes, and content analysis. For this task, this sentence"
            ' : "{text}" discriminates between opinion and fact in one word:"',
            source=_METAEOL,
        ),
        Template(
            name="metaeol-review",
            query="In this task, you're given a review from an online platform. Your task is to"
            " generate a rating for the product based on the review on a scale of 1-5, where 1 means"
            " 'extremely negative' and 5 means 'extremely positive'. For this task, this sentence :"
            ' "{text}" reflects the sentiment in one word:"',
            source=_METAEOL,
        ),
        Template(
            name="metaeol-diary",
            query="In this task, you're reading a personal diary entry. Your task is to identify the"
            " predominant emotion expressed, such as joy, sadness, anger, fear, or love. For this"
            ' task, this sentence : "{text}" conveys the emotion in one word:"',
            source=_METAEOL,
        ),
        Template(
            name="metaeol-paraphrase",
            query="In this task, you're presented with two sentences. Your task is to assess whether"
            " the sentences convey the same meaning. Use 'identical', 'similar', 'different', or"
            " 'unrelated' to describe the relationship. To enhance the performance of this task, this"
            ' sentence : "{text}" means in one word:"',
            source=_METAEOL,
        ),
        Template(
            name="metaeol-synonym",
            query="In this task, you're given a sentence and a phrase. Your task is to determine if"
            " the phrase can be a contextual synonym within the given sentence. Options include"
            " 'yes', 'no', or 'partially'. To enhance the performance of this task, this sentence :"
            ' "{text}" means in one word:"',
            source=_METAEOL,
        ),
        Template(
            name="metaeol-news",
            query="In this task, you're examining a news article. Your task is to extract the most"
            ' critical fact from the article. For this task, this sentence : "{text}" encapsulates'
            ' the key fact in one word:"',
            source=_METAEOL,
        ),
        Template(
            name="metaeol-abstract",
            query="In this task, you're reviewing a scientific abstract. Your task is to identify the"
            " main entities (e.g., proteins, diseases) and their relations (e.g., causes, treats)."
            ' For this task, this sentence : "{text}" highlights the primary entity or relation in'
            ' one word:"',
            source=_METAEOL,
        ),
        Template(
            name="echo",
            query="Rewrite the sentence: {text}, rewritten sentence: {text}",
            demonstration="",
            preparation=Preparation.NONE,
            pooling=Pooling.MEAN,
            source="arXiv 2402.15449, section 3",
        ),
        Template(
            name="mean",
            query="{text}",
            demonstration="",
            preparation=Preparation.NONE,
            pooling=Pooling.MEAN,
            source="no prompt: the mean over the tokens of the text, for comparison",
        ),
    )
}

# Names that stand for several prompts, whose embeddings are averaged.
GROUPS: dict[str, tuple[str, ...]] = {
    "metaeol": tuple(name for name in TEMPLATES if name.startswith("metaeol-")),
}


class TemplateFile(BaseModel):
    """A custom template: the contents of a YAML file."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, description="name of the template; default: the file's name")
    query: str = Field(description="with {text} and {demonstrations}")
    demonstration: str | None = Field(
        None, description="with {text} and {word}; missing: the template takes no demonstrations"
    )
    joiner: str = Field("", description="between demonstrations and after the last one")
    preparation: Preparation = Preparation.PAPER
    pooling: Pooling = Pooling.LAST


def find_template(name: str) -> Template:
    """Return the template with a name or in a YAML file.

    Raises:
        UserError: no template has this name, the file is malformed, or the name stands for several.
    """
    templates = find_templates(name)
    if len(templates) > 1:
        raise UserError(
            f"--template must be a single template but got '{name}', which stands for"
            f" {len(templates)}: {', '.join(template.name for template in templates)}"
        )
    return templates[0]


def find_templates(name: str) -> tuple[Template, ...]:
    """Return the templates with a name or in a YAML file; embeddings of several are averaged.

    Raises:
        UserError: no template has this name, or the file is malformed.
    """
    if Path(name).suffix in (".yaml", ".yml"):
        return (read_template(name),)
    if name in GROUPS:
        return tuple(TEMPLATES[member] for member in GROUPS[name])
    if name not in TEMPLATES:
        raise UserError(
            f"unknown template '{name}'; known: {', '.join([*TEMPLATES, *GROUPS])}, or a YAML file"
        )
    return (TEMPLATES[name],)


def search_templates(names: str) -> tuple[Template, ...]:
    """Return the templates among which a search selects.

    Args:
        names: names or YAML files separated by commas, or `all`: every known template that takes
            demonstrations, except those of MetaEOL, which are used together.

    Raises:
        UserError: as `find_template`; also if no template takes demonstrations, or if two have the same
            name.
    """
    if names == ALL:
        grouped = {member for members in GROUPS.values() for member in members}
        return tuple(
            template
            for name, template in TEMPLATES.items()
            if template.takes_demonstrations and name not in grouped
        )
    templates = tuple(dict.fromkeys(find_template(name) for name in names.split(",")))
    if not any(template.takes_demonstrations for template in templates):
        raise UserError(
            f"--template must take demonstrations but '{names}' takes none; choose another template"
        )
    known = [template.name for template in templates]
    if repeated := [name for name in known if known.count(name) > 1]:
        raise UserError(f"two templates are named '{repeated[0]}'; rename one of them")
    return templates


def read_template(path: str | Path) -> Template:
    """Read a custom template.

    Raises:
        UserError: the file cannot be read, is not YAML, or a field or placeholder is missing.
    """
    value = parse_yaml(read_text(path, "template"), f"template {path}")
    try:
        file = TemplateFile.model_validate(value)
    except ValidationError as error:
        raise UserError(first_error(error, f"template {path}: ", noun="field")) from error
    # A custom template has to say where the demonstrations go; leaving it out is likely a mistake.
    if file.demonstration and DEMONSTRATIONS not in file.query:
        raise UserError(f"template {path}: 'query' must contain {DEMONSTRATIONS} before {TEXT}")
    return Template(
        name=file.name or Path(path).stem,
        query=file.query,
        demonstration=file.demonstration or "",
        joiner=file.joiner,
        preparation=file.preparation,
        pooling=file.pooling,
        source=str(path),
    )
