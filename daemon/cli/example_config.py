"""An example `pirtad.toml`, generated from the settings themselves so that it can't drift from them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pirtad.worker.settings import Settings

_HEAD = """\
# pirtad's settings, with their defaults. Every line can be left out.
# The environment wins over this file: PIRTAD_<SECTION>__<KEY>, e.g. PIRTAD_LISTENER__PORT=11113.
"""


def example_toml() -> str:
    """The file's text: each section with its docstring, each key with its description and default.

    What TOML has no word for (a setting that is not set, an empty list of tables) is there as a comment.
    """
    return _HEAD + "".join(_section(name, field) for name, field in Settings.model_fields.items())


def _section(name: str, field: FieldInfo) -> str:
    model = field.annotation
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise TypeError(f"{name} is no section")
    plain, tables = [], []
    for key, setting in model.model_fields.items():
        nested = _table_model(setting)
        if nested is None:
            plain.append("\n".join(_key(key, setting)))
        else:
            tables.append("\n".join(_commented_table(f"{name}.{key}", nested, setting.description or "")))
    return "\n".join(["", f"# {model.__doc__}", f"[{name}]", *plain, *tables, ""])


def _key(key: str, setting: FieldInfo) -> Iterator[str]:
    yield f"# {setting.description}"
    default = setting.get_default(call_default_factory=True)
    if default is None or default is PydanticUndefined:
        yield f"# {key} = {_placeholder(setting)}"
    elif setting.examples and not default:
        yield f"# {key} = {_toml(setting.examples[0])}"
    else:
        yield f"{key} = {_toml(default)}"


def _commented_table(name: str, model: type[BaseModel], description: str) -> Iterator[str]:
    yield f"# {description}"
    yield f"# [[{name}]]"
    for key, setting in model.model_fields.items():
        for line in _key(key, setting):
            yield line if line.startswith("# " + key) else f"# {line}"


def _table_model(setting: FieldInfo) -> type[BaseModel] | None:
    """The model of a tuple of tables, None for any other setting."""
    if get_origin(setting.annotation) is not tuple:
        return None
    item = get_args(setting.annotation)[0]
    return item if isinstance(item, type) and issubclass(item, BaseModel) else None


def _placeholder(setting: FieldInfo) -> str:
    if setting.examples:
        return _toml(setting.examples[0])
    kind = setting.annotation
    if get_origin(kind) in (Union, UnionType):
        kind = next(one for one in get_args(kind) if one is not type(None))
    return '"/path"' if kind is Path else '"..."'


def _toml(value: Any) -> str:  # noqa: ANN401 - any default of a setting
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    # JSON's booleans, numbers and strings are TOML's as well.
    return json.dumps(str(value) if isinstance(value, Path) else value)
