"""The configuration of the commands: a YAML file, overridden by flags, checked as one whole.

The models have the names, defaults and meanings of the parameters of ``tl.read_table`` and ``tl.compare``. A key that
does not exist is an error that names the nearest one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from taskloom.cli._errors import one_paragraph, reason
from taskloom.cli._output import default_folder
from taskloom.errors import StudyError, nearest

__all__ = ["CompareConfig", "FitConfig", "TableConfig", "resolve", "to_yaml"]


def _as_list(value: Any) -> Any:
    """One name is a list of one name."""
    return [value] if isinstance(value, str | int | float) else value


def _as_separator(value: Any) -> Any:
    """Shells make a tab hard to type."""
    return {"\\t": "\t", "tab": "\t"}.get(value, value) if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_as_list)]


class TableConfig(BaseModel):
    """Which table is read and what its columns are (see ``tl.read_table``).

    Example:
        >>> TableConfig(data="marks.csv", targets="maths").targets
        ['maths']
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)
    required: ClassVar[dict[str, str]] = {
        "data": "a CSV, TSV or Parquet file: name it as the first argument or under 'data' in the configuration file",
        "targets": "at least one target column: name it with --target or under 'targets' in the configuration file",
    }

    data: Path | None = None
    targets: Names = []
    task_column: str | None = None
    group_column: str | None = None
    time_column: str | None = None
    kinds: dict[str, str] = {}
    drop: Names = []
    separator: Annotated[str | None, BeforeValidator(_as_separator)] = Field(default=None, min_length=1, max_length=1)
    encoding: str | None = None

    out: Path | None = None

    @property
    def suffix(self) -> str:
        """What is added to the name of the table for the name of the default output folder."""
        return ""

    @property
    def folder(self) -> Path:
        """The output folder; default ``taskloom-runs/<name of the table>``."""
        return self.out if self.out is not None else default_folder(self.table, self.suffix)

    @property
    def table(self) -> Path:
        """Path of the table; exists in every configuration that :func:`resolve` has returned."""
        if self.data is None:
            raise StudyError(f"no table was named; expected {self.required['data']}")
        return self.data


class CompareConfig(TableConfig):
    """Settings of ``taskloom compare`` (see ``tl.compare``).

    Example:
        >>> CompareConfig().seeds, CompareConfig().budget
        (5, '8 trials')
    """

    candidates: Literal["default", "all"] | Names = "default"
    main: str | None = None
    seeds: int = Field(default=5, ge=1)
    seed: int = Field(default=0, ge=0)
    budget: str = "8 trials"
    workers: int | None = Field(default=None, ge=1)
    storage: str | None = None
    alpha: float = Field(default=0.05, gt=0, lt=1)
    margin: float = Field(default=0.01, gt=0, lt=1)

    @field_validator("candidates", mode="before")
    @classmethod
    def _split_candidates(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in {"default", "all"}:
            return [name.strip() for name in value.split(",") if name.strip()]
        return value


class FitConfig(TableConfig):
    """Settings of ``taskloom fit``: a candidate of the comparison, its hyperparameters, how long it is trained.

    Example:
        >>> FitConfig().candidate
        'hard_sharing'
    """

    candidate: str = "hard_sharing"
    seed: int = Field(default=0, ge=0)
    settings: dict[str, int | float | str] = {}
    max_epochs: int | None = Field(default=None, ge=1)
    patience: int | None = Field(default=None, ge=1)

    @property
    def suffix(self) -> str:
        """Models of several candidates may lie beside each other."""
        return f"-{self.candidate}"


Config = TypeVar("Config", bound=TableConfig)


def resolve(model: type[Config], file: Path | None, flags: Mapping[str, Any], *, complete: bool = True) -> Config:
    """Read a configuration file, lay the flags that were given over it, and check the result.

    Args:
        model: the kind of configuration.
        file: a YAML file, or None for flags and defaults alone.
        flags: values by name; None and empty lists or mappings mean "not given". Mappings (``kinds``, ``settings``)
            are added to those of the file, entry by entry; everything else replaces what the file says.
        complete: whether the data and a target must be there; False to show a configuration that is still being
            written.

    Returns:
        the checked configuration.

    Raises:
        StudyError: the file cannot be read or is no mapping, a key is unknown, a value is out of its range, or the
            data or targets are missing.

    Example:
        >>> resolve(CompareConfig, None, {"data": "marks.csv", "targets": ["maths"], "seeds": 3}).seeds
        3
    """
    values = {} if file is None else _read_yaml(file)
    for name, value in flags.items():
        if value is None or (isinstance(value, list | dict) and not value):
            continue
        if isinstance(value, dict) and isinstance(values.get(name), dict):
            value = {**values[name], **value}
        values[name] = value
    try:
        config = model.model_validate(values)
    except ValidationError as error:
        source = "the command line" if file is None else f"the configuration ({file} and the command line)"
        problems = "; ".join(dict.fromkeys(_problem(detail, model) for detail in error.errors()))
        raise StudyError(f"{source} has values that cannot be used: {problems}") from None
    if complete:
        for name, expected in model.required.items():
            if not getattr(config, name):
                raise StudyError(f"{name!r} is missing; expected {expected}")
    return config


def to_yaml(config: TableConfig) -> str:
    """The configuration as YAML, with its output folder; :func:`resolve` reads it back to the same configuration.

    Example:
        >>> print(to_yaml(CompareConfig(data="marks.csv")).splitlines()[0])
        data: marks.csv
    """
    if config.data is not None:
        config = config.model_copy(update={"out": config.folder})
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=10_000)


class _UniqueKeys(yaml.SafeLoader):
    """YAML keeps the last of two equal keys without a word; here it is an error."""


def _unique_mapping(loader: _UniqueKeys, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, str | int | float) and key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} occurs twice; keep one", key_node.start_mark
            )
        if isinstance(key, str | int | float):
            seen.add(key)
    loader.flatten_mapping(node)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise StudyError(
            f"cannot read the configuration file {str(file)!r}: {reason(error)}; give an existing YAML file to --config"
        ) from error
    except UnicodeDecodeError as error:
        raise StudyError(
            f"the configuration file {str(file)!r} is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error
    try:
        values = yaml.load(text, Loader=_UniqueKeys)
    except yaml.YAMLError as error:
        raise StudyError(
            f"the configuration file {str(file)!r} is not valid YAML: {one_paragraph(str(error))}; write one "
            "'key: value' per line (--print-config shows an example)"
        ) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise StudyError(
            f"the configuration file {str(file)!r} holds a {type(values).__name__}; expected one 'key: value' per line "
            "(--print-config shows an example)"
        )
    return {str(key): value for key, value in values.items()}


def _problem(detail: ErrorDetails, model: type[TableConfig]) -> str:
    """One validation error in words."""
    name = str(detail["loc"][0])
    if detail["type"] == "extra_forbidden":
        return f"unknown key {name!r}.{nearest(name, model.model_fields)}"
    if name == "candidates":
        return "candidates: expected 'default', 'all' or names separated by commas (see 'taskloom methods')"
    expected = detail["msg"][:1].lower() + detail["msg"][1:]
    return f"{name}: {expected}, found {detail['input']!r}"
