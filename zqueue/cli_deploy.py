"""The verbs of ``zqueue deploy``: many hosts from one inventory, over the user's own ssh."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from .config import parse_listen
from .errors import ConfigError
from .options import (
    EXIT_CODES,
    FAILURE,
    NOT_READY,
    UNREACHABLE,
    Seconds,
    check_options,
    json_option,
)

if TYPE_CHECKING:
    from .deploy.inventory import Inventory
    from .deploy.plan import Plan
    from .deploy.rollout import Rollout

F = TypeVar("F", bound=Callable[..., Any])


@click.group(epilog=EXIT_CODES)
def deploy() -> None:
    """Set up, change and watch many hosts from one inventory, over your own ssh.

    \b
    zqueue deploy init                  write an example of hosts.toml
    zqueue deploy check                 is every host fit for it?
    zqueue deploy up                    make all hosts as the inventory says
    zqueue deploy status
    zqueue deploy upgrade               the same for hosts that work, one at a time
    zqueue deploy upgrade --back        to the release before
    zqueue deploy down

    Needs ssh, a user on each host who may use sudo without a password, and Python 3.11 there.
    """


def hosts_options(function: F) -> F:
    """What all verbs take that speak with hosts."""
    for option in (
        json_option,
        click.option("--limit", metavar="HOST,…", default="", show_envvar=True,
                     help="Only these hosts.  [default: all]"),
        click.option("--ssh-config", metavar="FILE", type=click.Path(dir_okay=False),
                     show_envvar=True, help="For ssh -F.  [default: ssh's own]"),
        click.option("-i", "--inventory", metavar="FILE", default="hosts.toml", show_default=True,
                     show_envvar=True, type=click.Path(dir_okay=False), help="The inventory."),
    ):  # fmt: skip
        function = option(function)
    return function


def patience_options(function: F) -> F:
    """How long hosts that change are waited for."""

    @click.option("--timeout", default=60.0, type=Seconds(), show_envvar=True,
                  help="Seconds until a host that changed must be ready.")  # fmt: skip
    @click.option("--watch", default=2.0, type=Seconds(), show_envvar=True,
                  help="Seconds for which no worker may be lost and no task become a dead letter "
                       "after a host that works was changed.")  # fmt: skip
    @functools.wraps(function)
    def with_patience(*args: Any, timeout: float, watch: float, **kwargs: Any) -> Any:
        from .deploy.rollout import Patience

        return function(*args, patience=Patience(timeout, watch), **kwargs)

    return cast(F, with_patience)


@deploy.command(epilog=EXIT_CODES)
@click.option("-i", "--inventory", metavar="FILE", default="hosts.toml", show_default=True,
              show_envvar=True, type=click.Path(dir_okay=False), help="The inventory.")  # fmt: skip
def init(inventory: str) -> None:
    """Write an example of an inventory.

    \b
    zqueue deploy init
    """
    from .deploy.bundle import FILES

    if Path(inventory).exists():
        raise ConfigError(f"{inventory} is there: edit it, or name another file")
    Path(inventory).write_text((FILES / "hosts.toml").read_text("utf-8"), "utf-8")
    click.echo(f"wrote {inventory}: name your hosts in it, then run 'zqueue deploy check'")


@deploy.command(epilog=EXIT_CODES)
@hosts_options
@click.pass_context
def check(ctx: click.Context, /, as_json: bool, **options: Any) -> None:
    """See whether every host is fit: reachable, sudo, Python, disk, clock, ports, keys.

    \b
    zqueue deploy check
    """
    with _rollout(ctx, as_json, options) as rollout:
        rollout.check()
        _finish(rollout, {host.name: [] for host in rollout.chosen}, "fit", as_json)


@deploy.command(epilog=EXIT_CODES)
@hosts_options
@click.option("--new-keys", is_flag=True, show_envvar=True,
              help="Make the hosts' keys anew: the old ones are refused from then on.")  # fmt: skip
@click.pass_context
def plan(ctx: click.Context, /, new_keys: bool, as_json: bool, **options: Any) -> None:
    """Show what 'up' would do.

    \b
    zqueue deploy plan
    """
    with _rollout(ctx, as_json, options) as rollout:
        _show(_checked_plan(rollout, new_keys=new_keys), as_json)


@deploy.command(epilog=EXIT_CODES)
@hosts_options
@patience_options
@click.option("--dry-run", is_flag=True, show_envvar=True, help="Only show what would be done.")
@click.option("--new-keys", is_flag=True, show_envvar=True,
              help="Make the hosts' keys anew: the old ones are refused from then on.")  # fmt: skip
@click.pass_context
def up(ctx: click.Context, /, dry_run: bool, new_keys: bool, as_json: bool, **options: Any) -> None:
    """Make all hosts as the inventory says: software, keys, services, monitoring.

    Nothing is switched on any host before all is in place on all of them. Hosts that work are
    changed one at a time; one that fails goes back to what it had, and the next is not touched.

    \b
    zqueue deploy up
    zqueue deploy up --limit h3 --new-keys      a key was stolen there
    """
    with _rollout(ctx, as_json, options) as rollout:
        plan = _checked_plan(rollout, new_keys=new_keys)
        if dry_run:
            _show(plan, as_json)
            return
        _perform(rollout, plan, as_json)


@deploy.command(epilog=EXIT_CODES)
@hosts_options
@patience_options
@click.option("--back", is_flag=True, show_envvar=True, help="Go back to the release before.")
@click.pass_context
def upgrade(ctx: click.Context, /, back: bool, as_json: bool, **options: Any) -> None:
    """Bring new versions of zqueue, apps and configuration to hosts that work, one at a time.

    \b
    zqueue deploy upgrade
    zqueue deploy upgrade --back
    """
    with _rollout(ctx, as_json, options) as rollout:
        if back:
            rollout.look()
            plan = rollout.plan_back()
        else:
            rollout.check()
            bare = [host.name for host in rollout.chosen if not rollout.facts[host.name].current]
            if bare:
                raise ConfigError(f"{', '.join(bare)}: nothing runs there: 'zqueue deploy up'")
            plan = rollout.plan()
        _perform(rollout, plan, as_json)


@deploy.command(epilog=EXIT_CODES)
@hosts_options
@patience_options
@click.pass_context
def restart(ctx: click.Context, /, as_json: bool, **options: Any) -> None:
    """Restart all services, one host at a time; workers finish what they run.

    \b
    zqueue deploy restart --limit h2
    """
    with _rollout(ctx, as_json, options) as rollout:
        rollout.check()
        _perform(rollout, rollout.plan(restarts=True), as_json)


@deploy.command(epilog=EXIT_CODES)
@click.argument("counts", metavar="HOST[/APP]=N…", nargs=-1, required=True)
@hosts_options
@patience_options
@click.pass_context
def scale(ctx: click.Context, /, counts: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Run another number of worker processes, until the next 'up': the inventory stays as it is.

    \b
    zqueue deploy scale h2=8 h3/mail=2
    """
    wanted = [_count(each) for each in counts]
    options["limit"] = ",".join(dict.fromkeys(host for host, _, _ in wanted))

    def scaled(inventory: Inventory) -> Inventory:
        for host, app, count in wanted:
            inventory = inventory.scaled(host, app, count)
        return inventory

    with _rollout(ctx, as_json, options, scaled) as rollout:
        _perform(rollout, _checked_plan(rollout), as_json)
    click.echo(f"to keep it, write it into {options['inventory']}", err=True)


@deploy.command(epilog=EXIT_CODES)
@hosts_options
@click.pass_context
def status(ctx: click.Context, /, as_json: bool, **options: Any) -> None:
    """Show what each host runs, and whether it is ready: exit code 0, or 6 (not ready).

    \b
    zqueue deploy status
    """
    with _rollout(ctx, as_json, options) as rollout:
        rollout.look()
        if not as_json:
            for name, key in rollout.broker_keys().items():
                _tell(name, f"broker {key} at {rollout.inventory.url_of(name)}")
            for host in rollout.chosen:
                facts = rollout.facts[host.name]
                states = [f"{unit.removesuffix('.service')} {now.state}"
                          for unit, now in sorted(facts.units.items())]  # fmt: skip
                _tell(host.name, f"release {facts.current or 'none'}  {'  '.join(states)}")
        _finish(rollout, rollout.problems(), "ready", as_json)


@deploy.command(epilog=EXIT_CODES)
@hosts_options
@patience_options
@click.option("--finish", is_flag=True, show_envvar=True,
              help="All use the new key: end the old one.")  # fmt: skip
@click.pass_context
def rotate(ctx: click.Context, /, finish: bool, as_json: bool, **options: Any) -> None:
    """Change the broker's key, in two steps: both are good until the second.

    \b
    zqueue deploy rotate                 all hosts learn the new key; producers are told by you
    zqueue deploy rotate --finish        the broker starts anew with it; the old one is no more
    """
    if options["limit"]:
        raise ConfigError("every host must learn the broker's new key: leave --limit out")
    with _rollout(ctx, as_json, options) as rollout:
        for name, key in rollout.rotate(finish=finish).items():
            which = "the broker's key is" if finish else "add to broker_keys of producers' files:"
            _tell(name, f"{which} {key}")
        _finish(rollout, rollout.settled(), "ready", as_json)


@deploy.command(epilog=EXIT_CODES)
@hosts_options
@click.option("-n", "--lines", default=50, type=click.IntRange(1, 100_000), show_envvar=True,
              help="Lines of each host.")  # fmt: skip
@click.option("-f", "--follow", is_flag=True, show_envvar=True, help="Go on until Ctrl-C.")
@click.pass_context
def logs(ctx: click.Context, /, lines: int, follow: bool, as_json: bool, **options: Any) -> None:
    """Show what the services of all hosts said last, each line behind its host's name.

    \b
    zqueue deploy logs
    zqueue deploy logs --limit h2 -f
    """
    with _rollout(ctx, as_json, options) as rollout:
        rollout.look()
        if follow:
            rollout.follow(lines, _line(as_json))
            return
        for name, text in rollout.send([f"logs {lines} end"], rollout.chosen).items():
            for line in text.splitlines():
                _line(as_json)(name, line)


@deploy.command(epilog=EXIT_CODES)
@hosts_options
@click.option("--purge", is_flag=True, show_envvar=True,
              help="Also remove software, keys and queues: what they hold is lost.")  # fmt: skip
@click.pass_context
def down(ctx: click.Context, /, purge: bool, as_json: bool, **options: Any) -> None:
    """Stop everything, workers first; software, keys and queues stay.

    \b
    zqueue deploy down
    zqueue deploy down --limit h3 --purge
    """
    with _rollout(ctx, as_json, options) as rollout:
        rollout.look()
        brokers = [h for h in rollout.chosen if h.name in rollout.inventory.brokers]
        others = [h for h in rollout.chosen if h not in brokers]
        rollout.has_begun = True
        for hosts in (others, brokers):
            for name, text in rollout.send(["purge" if purge else "remove"], hosts).items():
                for line in text.splitlines():
                    _tell(name, line)
        _finish(rollout, {host.name: [] for host in rollout.chosen}, "down", as_json)


@deploy.command(epilog=EXIT_CODES)
@hosts_options
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    default="bundles",
    show_default=True,
    show_envvar=True,
    type=click.Path(file_okay=False),
    help="Where they are written.",
)
@click.pass_context
def bundle(ctx: click.Context, /, output: str, as_json: bool, **options: Any) -> None:
    """Write an archive for each host, HOST.tar, for Ansible or to install by hand.

    It is for hosts with this machine's Python and processor. Nobody is asked.

    \b
    zqueue deploy bundle -o bundles
    """
    with _rollout(ctx, as_json, options) as rollout:
        rollout.assume_alike()
        folder = Path(output)
        folder.mkdir(parents=True, exist_ok=True)
        for name, packed in rollout.bundles().items():
            (folder / f"{name}.tar").write_bytes(packed)
        _finish(rollout, {host.name: [] for host in rollout.chosen}, "written", as_json)


# --- what verbs have in common ---


@contextmanager
def _rollout(
    ctx: click.Context, as_json: bool, options: Mapping[str, Any],
    change: Callable[[Inventory], Inventory] = lambda inventory: inventory,
) -> Iterator[Rollout]:  # fmt: skip
    from .deploy.inventory import parse_inventory
    from .deploy.rollout import Patience, Rollout, Stopped
    from .deploy.ssh import Ssh

    path = Path(options["inventory"])
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        hint = "'zqueue deploy init' writes an example"
        raise ConfigError(f"cannot read {path}: {getattr(error, 'strerror', error)}; {hint}") from (
            None
        )
    inventory = change(parse_inventory(text, str(path)))
    _check_processes(ctx, path, inventory)
    limit = [name for name in options["limit"].split(",") if name]
    patience = options.get("patience", Patience())
    tell = _tell if not as_json else lambda host, text: None
    with Ssh(options["ssh_config"]) as ssh:
        rollout = Rollout(inventory, path.parent, ssh, tell, limit=limit, patience=patience)
        try:
            yield rollout
        except Stopped as stopped:
            problems: dict[str, list[str]] = {host.name: [] for host in rollout.chosen}
            for fault in stopped.faults:
                problems.setdefault(fault.host, []).append(fault.text)
            code = UNREACHABLE if stopped.is_lost else FAILURE if rollout.has_begun else NOT_READY
            good = "reachable" if stopped.is_lost else "fit"
            if rollout.has_begun:
                _finish(rollout, problems, "without a fault", as_json, code)
            _finish(rollout, problems, good, as_json, code, note="; nothing was changed")


def _check_processes(ctx: click.Context, /, path: Path, inventory: Inventory) -> None:
    """Options of the processes are those of their verbs. Raises `ConfigError`."""
    group = ctx.find_root().command
    assert isinstance(group, click.Group)
    for verb, table in zip(("broker", "worker", "metrics"), inventory.options, strict=True):
        command = group.commands[verb]
        for name, value in check_options(path, command, dict(table)).items():
            option = next(param for param in command.params if param.name == name)
            option.type_cast_value(ctx, (value,) if option.multiple else value)
    if listen := inventory.options.metrics.get("listen"):
        parse_listen(str(listen))


def _checked_plan(rollout: Rollout, *, new_keys: bool = False) -> Plan:
    rollout.check(renews=new_keys)
    return rollout.plan(renews=new_keys)


def _perform(rollout: Rollout, plan: Plan, as_json: bool) -> None:
    rollout.perform(plan)
    problems = rollout.problems() if plan.is_empty() else rollout.settled()
    _finish(rollout, problems, "ready", as_json, plan=plan)


def _show(plan: Plan, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"steps": plan.lines()}))
    else:
        click.echo("\n".join(plan.lines()) or "nothing is to be done")


def _finish(
    rollout: Rollout, problems: Mapping[str, list[str]], good: str, as_json: bool,
    code: int = NOT_READY, plan: Plan | None = None, note: str = "",
) -> None:  # fmt: skip
    """Say what is the matter, count the hosts, and end with the exit code."""
    fine = sum(1 for texts in problems.values() if not texts)
    if as_json:
        hosts = {name: {"ok": not texts, "problems": texts} for name, texts in problems.items()}
        steps = [] if plan is None else plan.lines()
        click.echo(json.dumps({good: fine, "of": len(problems), "hosts": hosts, "steps": steps}))
    else:
        for name, texts in problems.items():
            for text in texts:
                click.echo(f"zqueue: {name}: {text}", err=True)
        note = ", nothing to change" if plan is not None and plan.is_empty() else note
        click.echo(f"{fine} of {len(problems)} {good}{note}")
    if fine < len(problems):
        sys.exit(code)


def _tell(host: str, text: str) -> None:
    click.echo(f"{host}  {text}", err=True)


def _line(as_json: bool) -> Callable[[str, str], None]:
    def show(host: str, line: str) -> None:
        click.echo(json.dumps({"host": host, "line": line}) if as_json else f"{host}  {line}")

    return show


def _count(text: str) -> tuple[str, str, int]:
    where, _, count = text.partition("=")
    host, _, app = where.partition("/")
    if not host or not count.isdigit():
        raise ConfigError(f"{text!r}: write HOST=N or HOST/APP=N, as in h2=8")
    return host, app, int(count)
