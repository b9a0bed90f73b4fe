"""What a mistake in a recipe is answered with: the name, the value and the nearest name that would have been right."""

import types
import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined

from amortized.errors import nearest
from amortized.recipes.schema import BRANCHES


def explain(error: ValidationError, root: type[BaseModel]) -> str:
    """The first mistake in one sentence."""
    first = error.errors()[0]
    location, value, context = first["loc"], first["input"], first.get("ctx", {})
    name = _name(location, root)
    alternatives = [each for each in error.errors() if _name(each["loc"], root) == name and each["input"] == value]
    match first["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            owner, others = _kinds_with(location, root)
            if others:
                kinds = " or ".join(map(repr, others))
                return f"option '{name}' belongs to kind {kinds}; {owner} is '{location[-2]}'."
            valid = _names_beside(location, root)
            prefix = name.removesuffix(str(location[-1]))
            answer = nearest(name, [f"{prefix}{each}" for each in valid])
            return f"unknown option '{name}' (value {value!r}); {answer}"
        case "union_tag_invalid":
            tags = context["expected_tags"].replace("'", "").split(", ")
            return f"unknown kind '{context['tag']}' of {name}; {nearest(context['tag'], tags)}"
        case "union_tag_not_found":
            kinds = [kind for kind, names in _kinds_at(location, root) if set(value) <= names] if isinstance(value, dict) else []
            kinds = kinds or [kind for kind, _ in _kinds_at(location, root)]
            return f"{name} is {value!r}, which names no kind; add {name}.kind={' or '.join(kinds)}."
        case "missing":
            return f"{name} is missing from {value!r}; give it too."
        case "model_type" | "model_attributes_type" | "dataclass_type":
            return f"{name} is {value!r}; it must be a mapping of its options."
        case "list_type" | "tuple_type":
            return f"{name} is {value!r}; it must be a list, such as [{value}] ('[{value}]' on the command line)."
        case "literal_error":
            return f"{name} is {value!r}, which it cannot be; it must be {' or '.join(map(_allowed, alternatives))}."
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{name} is {value!r}: {message}."


def _allowed(error: Any) -> str:
    """What a value must be, from pydantic's "Input should be a valid number, unable to ..."."""
    return error["msg"].removeprefix("Input should be ").partition(", unable")[0]


def options(root: type[BaseModel]) -> dict[str, str]:
    """Every option of a recipe by its dotted name: its description and its default."""
    return dict(_options(root, ""))


def kinds(owner: Any, name: str) -> list[str]:
    """The kinds that a description's field allows."""
    annotations = [annotation for field, annotation, *_ in _fields(owner) if field == name]
    return [kind for annotation in annotations for member in _descriptions(annotation) if (kind := _kind(member))]


def _options(owner: Any, prefix: str) -> Iterator[tuple[str, str]]:
    for name, annotation, default, text in _fields(owner):
        dotted = f"{prefix}{name}"
        members = list(_descriptions(annotation))
        kinds = [kind for member in members if (kind := _kind(member))]
        if kinds and _may_be_number(annotation):  # each schedule has the same few options, whatever changes by it
            value = f" [{default}]" if isinstance(default, float) else ""
            yield dotted, f"{text}{value} Or a schedule: {', '.join(kinds)}."
            continue
        if len(kinds) > 1 or (kinds and len(members) == 1 and name != "training"):
            yield dotted, f"{text} One of {', '.join(kinds)}."
        elif not members:
            yield dotted, f"{text} [{default}]" if default not in (None, PydanticUndefined) else text
        if name == "network" and prefix != "model.":
            continue  # it takes what `model.network` takes
        yield from _members(members, dotted)


def _members(members: list[Any], dotted: str) -> Iterator[tuple[str, str]]:
    """The options of all kinds; one that means different things to them is described for each."""
    described: dict[str, dict[str, list[str]]] = {}
    for member in members:
        for key, text in _options(member, f"{dotted}."):
            if not (_kind(member) and key == f"{dotted}.kind"):
                described.setdefault(key, {}).setdefault(text, []).append(_kind(member) or "")
    for key, texts in described.items():
        if len(texts) == 1:
            yield key, next(iter(texts))
        else:
            yield key, " ".join(f"{', '.join(kinds)}: {text}" for text, kinds in texts.items())


def _fields(owner: Any) -> Iterator[tuple[str, Any, Any, str]]:
    if is_dataclass(owner):
        texts = _attribute_texts(owner.__doc__ or "")
        hints = typing.get_type_hints(owner, include_extras=True)
        for field in fields(owner):
            yield field.name, hints[field.name], field.default, texts.get(field.name, "")
    else:
        for name, field in owner.model_fields.items():
            yield name, field.annotation, field.default, field.description or ""


def _attribute_texts(docstring: str) -> dict[str, str]:
    """The `Attributes:` section of a docstring."""
    texts, name = {}, ""
    for line in docstring.partition("Attributes:")[2].splitlines():
        indent = len(line) - len(line.lstrip())
        if line.strip() and indent <= 8 and ":" in line:
            name, _, text = line.strip().partition(":")
            texts[name] = text.strip()
        elif line.strip() and name:
            texts[name] += " " + line.strip()
    return texts


def _descriptions(annotation: Any) -> Iterator[Any]:
    """The descriptions and settings that an annotation allows."""
    if isinstance(annotation, type) and (issubclass(annotation, BaseModel) or is_dataclass(annotation)):
        yield annotation
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        for member in typing.get_args(annotation):
            yield from _descriptions(member)


def _may_be_number(annotation: Any) -> bool:
    return annotation is float or any(map(_may_be_number, typing.get_args(annotation)))


def _kind(description: Any) -> str | None:
    field = getattr(description, "model_fields", {}).get("kind")
    return field.default if field is not None and isinstance(field.default, str) else None


def _walk(location: tuple[int | str, ...], root: Any) -> Iterator[tuple[int | str, list[Any]]]:
    """The parts of a location, each with the descriptions it may stand in; the tags of unions are passed over."""
    owners, may_be_tag = [root], False
    for part in location:
        if part in BRANCHES:
            continue
        tagged = [owner for owner in owners if _kind(owner) == part]
        if tagged and may_be_tag:  # a kind may have an option of its own name, which comes after the tag
            owners, may_be_tag = tagged, False
            continue
        yield part, owners
        may_be_tag = True
        owners = [
            member
            for owner in owners
            for name, annotation, *_ in _fields(owner)
            if name == part
            for member in _descriptions(annotation)
        ]


def _name(location: tuple[int | str, ...], root: type[BaseModel]) -> str:
    """The dotted name of a location: without the tags of unions, which are no field's name and no position in a list."""
    parts = [part for part, owners in _walk(location, root) if owners or isinstance(part, int)]
    return ".".join(map(str, parts))


def _kinds_at(location: tuple[int | str, ...], root: type[BaseModel]) -> list[tuple[str, set[str]]]:
    """The kinds that a union allows, each with the names of its options."""
    *_, (last, owners) = _walk(location, root)
    annotations = [annotation for owner in owners for name, annotation, *_ in _fields(owner) if name == last]
    members = [member for annotation in annotations for member in _descriptions(annotation)]
    return [(kind, {name for name, *_ in _fields(member)}) for member in members if (kind := _kind(member))]


def _kinds_with(location: tuple[int | str, ...], root: type[BaseModel]) -> tuple[str, list[str]]:
    """The option that a location's last name was set in, and the kinds of it that do have that name."""
    *above, last = location
    if len(above) < 2:
        return "", []
    kinds = _kinds_at(tuple(above[:-1]), root)
    is_tag = above[-1] in {kind for kind, _ in kinds}
    return _name(tuple(above), root), [kind for kind, names in kinds if last in names] if is_tag else []


def _names_beside(location: tuple[int | str, ...], root: type[BaseModel]) -> list[str]:
    *_, (_, owners) = _walk(location, root)
    return [name for owner in owners for name, *_ in _fields(owner)]
