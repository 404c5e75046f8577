"""Checks values against a JSON Schema, of which it knows the few keywords that ours use.

One document, `receipt.schema.json`, is what the documentation ships and what the code enforces.
A keyword that is not known here is a bug, and refused, not ignored (JSON Schema 2020-12).
"""

from __future__ import annotations

import functools
import json
import re
from importlib.resources import files
from typing import Any

from zkai.errors import InvalidInput

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,),
    "boolean": (bool,), "null": (type(None),),
}  # fmt: skip
_KNOWN = {
    "type", "properties", "required", "additionalProperties", "propertyNames", "maxProperties",
    "items", "minItems", "maxItems", "uniqueItems", "pattern", "maxLength", "minimum", "maximum",
    "enum", "const", "anyOf", "$ref",
    "$schema", "$id", "$defs", "title", "description",
}  # fmt: skip
Schema = dict[str, Any]


@functools.cache
def load(name: str) -> Schema:
    """Return a schema that the package ships."""
    schema: Schema = json.loads(files("zkai.receipt").joinpath(name).read_bytes())
    return schema


def check(value: Any, schema: Schema, where: str, definition: str | None = None) -> None:
    """Return None if `value` is of `schema`, or of one of its definitions.

    Raises InvalidInput, naming the field.
    """
    _check(value, schema if definition is None else schema["$defs"][definition], where, schema)


def _check(value: Any, schema: Schema, where: str, root: Schema) -> None:
    if "$ref" in schema:
        _check(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], where, root)
    if "anyOf" in schema:
        _any_of(value, schema["anyOf"], where, root)
    if "type" in schema and not _is(value, schema["type"]):
        raise InvalidInput(f"{where}: expected {_spoken(schema['type'])}")
    if "const" in schema and value != schema["const"]:
        raise InvalidInput(f"{where}: expected {schema['const']!r}")
    if "enum" in schema and value not in schema["enum"]:
        raise InvalidInput(f"{where}: expected one of {', '.join(map(str, schema['enum']))}")
    if isinstance(value, str):
        _text(value, schema, where)
    elif isinstance(value, dict):
        _object(value, schema, where, root)
    elif isinstance(value, list):
        _array(value, schema, where, root)
    elif isinstance(value, int) and not isinstance(value, bool):
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        if not low <= value <= high:
            raise InvalidInput(f"{where}: expected an integer of {low} to {high}")


def _is(value: Any, names: str | list[str]) -> bool:
    listed = [names] if isinstance(names, str) else names
    if isinstance(value, bool):
        return "boolean" in listed
    return any(isinstance(value, _TYPES[name]) for name in listed)


def _spoken(names: str | list[str]) -> str:
    return names if isinstance(names, str) else " or ".join(names)


def _any_of(value: Any, options: list[Schema], where: str, root: Schema) -> None:
    reasons = []
    for option in options:
        try:
            return _check(value, option, where, root)
        except InvalidInput as error:
            reasons.append(error)
    raise reasons[-1]


def _text(value: str, schema: Schema, where: str) -> None:
    if len(value) > schema.get("maxLength", len(value)):
        raise InvalidInput(f"{where}: longer than {schema['maxLength']} characters")
    if "pattern" in schema and not _pattern(schema["pattern"]).search(value):
        raise InvalidInput(f"{where}: expected text of the form {schema['pattern']}")


@functools.cache
def _pattern(text: str) -> re.Pattern[str]:
    """Return a pattern; JSON Schema's end in $, which here also matches before a last newline."""
    return re.compile(text.replace("$", r"\Z"))


def _object(value: dict[str, Any], schema: Schema, where: str, root: Schema) -> None:
    properties = schema.get("properties", {})
    if missing := [name for name in schema.get("required", []) if name not in value]:
        raise InvalidInput(f"{where}: missing field {', '.join(missing)}")
    if len(value) > schema.get("maxProperties", len(value)):
        raise InvalidInput(f"{where}: more than {schema['maxProperties']} fields")
    rest = schema.get("additionalProperties", True)
    for name, item in value.items():
        if "propertyNames" in schema:
            _check(name, schema["propertyNames"], f"{where}: the name {name[:40]!r}", root)
        at = f"{where}.{name[:80]}"
        if name in properties:
            _check(item, properties[name], at, root)
        elif rest is False:
            raise InvalidInput(f"{where}: unknown field {name[:40]!r}")
        elif isinstance(rest, dict):
            _check(item, rest, at, root)


def _array(value: list[Any], schema: Schema, where: str, root: Schema) -> None:
    least, most = schema.get("minItems", 0), schema.get("maxItems", len(value))
    if not least <= len(value) <= most:
        raise InvalidInput(f"{where}: expected {least} to {most} entries, got {len(value)}")
    if schema.get("uniqueItems") and len({json.dumps(v, sort_keys=True) for v in value}) != len(
        value
    ):
        raise InvalidInput(f"{where}: an entry is there twice")
    for i, item in enumerate(value):
        _check(item, schema.get("items", {}), f"{where}[{i}]", root)
