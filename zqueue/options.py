"""What the options of all verbs have in common: types, the address, environment and file.

Every option is also an environment variable ``ZQUEUE_<VERB>_<OPTION>`` and a key of the table
``[verb]`` in ``zqueue.toml``; the command line wins over the environment, and that over the
file.
"""

from __future__ import annotations

import difflib
import functools
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from .config import DEFAULT_URL, parse_bytes, url_with_key
from .errors import ConfigError
from .net.processes import forbid_core_dumps
from .wire.headers import NAME

FAILURE, USAGE, UNREACHABLE, RUNNING, DEADLINE, NOT_READY = 1, 2, 3, 4, 5, 6

SECONDS_MAX = 7 * 86_400
"""What the system waits for at once must be below 24 days."""

F = TypeVar("F", bound=Callable[..., Any])

EXIT_CODES = """\b
Exit codes: 0 ok, 1 failure, 2 usage or import, 3 broker unreachable,
4 already running or damaged, 5 drain deadline hit (work returned), 6 not ready."""


class Bytes(click.ParamType[int]):
    """A size: ``65536``, ``512M``, ``2G``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if type(value) is int:
            return value
        try:
            return parse_bytes(str(value))
        except ConfigError as error:
            self.fail(str(error), param, ctx)


class Seconds(click.ParamType[float]):
    """A duration: from ``least`` seconds to a week. Nothing here waits for longer."""

    name = "seconds"

    def __init__(self, least: float = 0.0) -> None:
        self._least = least

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            seconds = float(value)
        except (TypeError, ValueError):
            seconds = math.nan
        if isinstance(value, bool) or not self._least <= seconds <= SECONDS_MAX:
            self.fail(
                f"{value!r} is not a duration: give seconds, from {self._least:g} to "
                f"{SECONDS_MAX:g} (a week)",
                param,
                ctx,
            )
        return seconds


class Moment(click.ParamType[float]):
    """A time, as seconds since 1970."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
        try:
            return datetime.fromisoformat(value).timestamp()
        except (TypeError, ValueError, OverflowError):
            self.fail(
                f"{value!r} is not a time: write 2030-01-31T08:00, 2030-01-31T08:00Z, or seconds "
                "since 1970",
                param,
                ctx,
            )


class Egresses(click.ParamType[tuple[str, str]]):
    """``QUEUE=URL``"""

    name = "queue=url"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        queue, separator, url = value.partition("=")
        if not separator or not NAME.match(queue) or not url:
            self.fail(f"{value!r}: write QUEUE=URL, as in events=tcp://127.0.0.1:5558", param, ctx)
        return queue, url


# --- where values come from ---


def _options(command: click.Command) -> dict[str, click.Option]:
    """The options of a verb by their long names, as in ``queue-bytes``."""
    options = [param for param in command.params if isinstance(param, click.Option)]
    return {
        next(name for name in option.opts if name.startswith("--"))[2:]: option
        for option in options
    }


def name_variables(group: click.Group, prefix: str = "ZQUEUE") -> None:
    """Let each option of each verb be had from the variable ``ZQUEUE_<VERB>_<OPTION>``, before any
    other that it has."""
    for verb, command in group.commands.items():
        path = f"{prefix}_{verb.upper()}"
        if isinstance(command, click.Group):
            name_variables(command, path)
        for name, option in _options(command).items():
            others = [option.envvar] if isinstance(option.envvar, str) else option.envvar or ()
            own = f"{path}_{name.upper().replace('-', '_')}"
            option.envvar = list(dict.fromkeys([own, *others]))


def unknown_variables(
    verb: str, command: click.Command, environment: Iterable[str]
) -> Iterator[tuple[str, str]]:
    """Variables that look as if they were for a verb, and the ones that may have been meant."""
    known = sorted(_variables(command, prefix := f"ZQUEUE_{verb.upper()}"))
    for name in environment:
        if name.startswith(f"{prefix}_") and name not in known and not _OF_KUBERNETES.search(name):
            (nearest,) = difflib.get_close_matches(name, known, n=1, cutoff=0)
            yield name, nearest


_OF_KUBERNETES = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?$")
"""Set in every container beside a service, which may well be named ``zqueue-broker``."""


def _variables(command: click.Command, prefix: str) -> Iterator[str]:
    """All that can be had from the environment."""
    for option in _options(command).values():
        yield from option.envvar or ()
        yield f"{prefix}_{(option.name or '').upper()}"  # click's own rule, which holds, too.
    if isinstance(command, click.Group):
        for verb, inner in command.commands.items():
            yield from _variables(inner, f"{prefix}_{verb.upper()}")


def read_file(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Take option values from the configuration file, which is UTF-8 in every locale."""
    path = Path(value) if value else Path("zqueue.toml")
    if not value and not path.exists():
        return None
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.BadParameter(f"cannot read {path}: {error}") from None
    assert isinstance(ctx.command, click.Group)
    ctx.default_map = _check_tables(path, ctx.command, tables)
    return str(path)


def _check_tables(path: Path, group: click.Group, tables: dict[str, Any]) -> dict[str, Any]:
    """Values by verb, as click wants them; a verb of a group is a table in that of the group."""
    checked = {}
    for verb, table in tables.items():
        command = group.commands.get(verb)
        if command is None or not isinstance(table, dict):
            verbs = ", ".join(group.commands)
            raise click.BadParameter(f"{path}: [{verb}] is not a verb (there are: {verbs})")
        checked[verb] = (
            _check_tables(path, command, table)
            if isinstance(command, click.Group)
            else check_options(path, command, table)
        )
    return checked


def check_options(path: Path, command: click.Command, table: dict[str, Any]) -> dict[str, Any]:
    """Values of a verb's table by their parameters' names. Raises `click.BadParameter`."""
    options, checked = _options(command), {}
    by_name = {option.name: option for option in options.values()}
    for key, value in table.items():
        option = options.get(key.replace("_", "-")) or by_name.get(key.replace("-", "_"))
        if option is None:
            (nearest,) = difflib.get_close_matches(key, options, n=1, cutoff=0)
            raise click.BadParameter(
                f"{path}: {command.name!r} has no option {key!r}: did you mean {nearest!r}?"
            )
        if option.name == "egress" and isinstance(value, dict):
            value = [f"{queue}={url}" for queue, url in value.items()]
        if option.multiple and isinstance(value, str):
            value = [value]
        if isinstance(value, dict) or (isinstance(value, list) and not option.multiple):
            raise click.BadParameter(f"{path}: {command.name}.{key} must be one value")
        checked[option.name] = value
    return checked


# --- options of many verbs ---


def url_option(function: F) -> F:
    """Where the broker is, and with what key."""
    option = click.option(
        "--url",
        envvar=["ZQUEUE_URL"],
        show_envvar=True,
        default=DEFAULT_URL,
        show_default=True,
        help="The broker's address.",
    )
    return option(key_file_option(function))


def key_file_option(function: F) -> F:
    """The key to connect with. It becomes a part of the addresses that ``url`` has."""

    @click.option("--key-file", metavar="FILE", envvar=["ZQUEUE_KEY_FILE"], show_envvar=True,
                  help="The key to connect with, as 'zqueue keys add' writes it. It has the "
                       "broker's address, too.")  # fmt: skip
    @click.pass_context
    @functools.wraps(function)
    def with_key(ctx: click.Context, /, *args: Any, key_file: str | None, **kwargs: Any) -> Any:
        if key_file is not None:
            forbid_core_dumps()
            url = kwargs["url"]
            given = ctx.get_parameter_source("url") is not click.core.ParameterSource.DEFAULT
            urls = url if isinstance(url, tuple) else (url,)
            with_keys = [url_with_key(each if given else None, key_file) for each in urls]
            many = tuple(each for urls in with_keys for each in urls.split(","))
            kwargs["url"] = many if isinstance(url, tuple) else with_keys[0]
        return function(*args, **kwargs)

    return cast(F, with_key)


json_option = click.option(
    "--json", "as_json", is_flag=True, show_envvar=True, help="Print as JSON."
)
