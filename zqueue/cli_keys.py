"""The verbs that make keys, and say whom a broker knows: keys init, add, ls, revoke, rotate."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from .auth import files
from .auth.files import BROKER_KEY, BROKER_NEXT_KEY, CLIENTS, ClientKey, KeyPair
from .auth.listing import changed_user, new_list, with_user, without_user
from .auth.users import KEY, KEYS_MAX, NAME, PATTERN, ROLES, User, Users
from .config import DEFAULT_URL, BrokerList
from .errors import ConfigError
from .options import EXIT_CODES, json_option

dir_option = click.option(
    "--dir", "directory", metavar="DIR", default="keys", show_default=True, show_envvar=True,
    type=click.Path(file_okay=False), help="The broker's directory of keys.",
)  # fmt: skip


@click.group(epilog=EXIT_CODES)
def keys() -> None:
    """Make keys for a broker and its clients, and say who may do what.

    \b
    zqueue keys init --url tcp://10.0.0.1:5555              once, where the broker is
    zqueue keys add worker-h2 --role work -o worker-h2.key  copy that file to h2
    zqueue broker --bind tcp://0.0.0.0:5555 --keys keys
    zqueue worker app.py --key-file worker-h2.key           on h2
    zqueue keys revoke worker-h2                            at once, no restart

    A running broker reads the list of clients again when it changes.
    """


@keys.command(epilog=EXIT_CODES)
@click.option("--url", metavar="URL", default=DEFAULT_URL, show_envvar=True,
              help="Where clients find the broker, which their key files say.")  # fmt: skip
@dir_option
def init(url: str, directory: str) -> None:
    """Make a broker's key, and an empty list of clients.

    \b
    zqueue keys init --url tcp://10.0.0.1:5555
    """
    BrokerList.parse(url)
    place = Path(directory)
    if (place / CLIENTS).exists() or (place / BROKER_KEY).exists():
        raise ConfigError(f"{place} has keys already: 'zqueue keys ls' shows them")
    pair = files.make_pair()
    files.write_secret(place / BROKER_KEY, files.broker_lines(pair))
    files.write_list(place / CLIENTS, new_list((url,)))
    click.echo(f"the broker's public key is {pair.public}")
    click.echo(f"start it with: zqueue broker --keys {place}")
    click.echo("let clients in with: zqueue keys add NAME --role ROLE -o NAME.key")


@keys.command(epilog=EXIT_CODES)
@click.argument("name")
@click.option("--role", "roles", multiple=True, required=True, type=click.Choice(list(ROLES)),
              show_envvar=True, help="; ".join(f"{r}: {what}" for r, what in ROLES.items())
              + ". May be repeated.")  # fmt: skip
@click.option("--queues", metavar="PATTERN,…", default="*", show_envvar=True,
              help="Queues that it may use, as in 'mail*,web'.")  # fmt: skip
@click.option("-o", "--output", metavar="FILE", type=click.Path(dir_okay=False), show_envvar=True,
              help="Where its key file is written.  [default: NAME.key]")  # fmt: skip
@click.option("--public", metavar="KEY", show_envvar=True,
              help="Its public key, if it has made a pair itself ('zqueue keys make'): no file is "
                   "written.")  # fmt: skip
@dir_option
def add(
    name: str, roles: tuple[str, ...], queues: str, output: str | None, public: str | None,
    directory: str,
) -> None:  # fmt: skip
    """Let a client in, as NAME, and write its key file.

    The file is all that it needs: copy it there by a way that keeps it secret, as scp does.

    \b
    zqueue keys add worker-h2 --role work -o worker-h2.key
    zqueue keys add web --role produce --queues 'mail*,images'
    zqueue keys add watch --role observe
    """
    _check_name(name)
    text, users = _list_of(directory)
    if users.get(name) is not None:
        raise ConfigError(
            f"there is a client {name!r}: choose another name, or 'zqueue keys rotate'"
        )
    patterns = tuple(queues.split(","))
    if not all(map(PATTERN.fullmatch, patterns)):
        raise ConfigError(f"{queues!r}: write patterns of queues with commas, as in 'mail*,web'")
    if public is not None:
        _check_key(public)
    pair = KeyPair(public, "") if public is not None else files.make_pair()
    changed = with_user(text, User(name, (pair.public,), frozenset(roles), patterns))
    if public is None:
        _write_client(directory, text, name, pair, output)
    files.write_list(Path(directory, CLIENTS), changed)
    click.echo(f"{name} may {', '.join(sorted(roles))} with key {pair.public}")


@keys.command(epilog=EXIT_CODES)
@click.argument("name")
@click.option("--broker-key", metavar="KEY", required=True, multiple=True, show_envvar=True,
              help="The broker's public key, as 'zqueue keys init' and 'ls' print it. Of several "
                   "brokers each, in the order of --url.")  # fmt: skip
@click.option("--url", metavar="URL", default=(DEFAULT_URL,), multiple=True, show_envvar=True,
              help="Where the broker is.")  # fmt: skip
@click.option("-o", "--output", metavar="FILE", type=click.Path(dir_okay=False), show_envvar=True,
              help="Where the key file is written.  [default: NAME.key]")  # fmt: skip
def make(name: str, broker_key: tuple[str, ...], url: tuple[str, ...], output: str | None) -> None:
    """Make a client's pair where it is used, and print its public key, for 'keys add --public'.

    The secret never leaves this machine.

    \b
    zqueue keys make worker-h2 --broker-key 'KEY' --url tcp://10.0.0.1:5555
    zqueue keys make web --broker-key=K1 --url tcp://h1:5555 --broker-key=K2 --url tcp://h2:5555
    """
    _check_name(name)
    for key in broker_key:
        _check_key(key)
    BrokerList.parse(",".join(url))
    if len(broker_key) != len(url):
        raise ConfigError(f"{len(broker_key)} --broker-key and {len(url)} --url: give one for each")
    pair = files.make_pair()
    brokers = {each: (key,) for each, key in zip(url, broker_key, strict=True)}
    lines = files.client_lines(ClientKey.of(name, pair, brokers))
    files.write_secret(Path(output or f"{name}.key"), lines)
    click.echo(pair.public)


@keys.command(epilog=EXIT_CODES)
@dir_option
@json_option
def ls(directory: str, as_json: bool) -> None:
    """Show the broker's public key, and whom it lets in.

    \b
    zqueue keys ls
    zqueue keys ls --json | jq -r '.clients[] | select(.roles[] == "admin").name'
    """
    _, users = _list_of(directory)
    public = files.read_broker_pair(directory).public
    if as_json:
        clients = [
            {"name": u.name, "keys": list(u.keys), "roles": sorted(u.roles),
             "queues": list(u.queues)}
            for u in users
        ]  # fmt: skip
        click.echo(json.dumps({"broker_key": public, "clients": clients}))
        return
    click.echo(f"broker {public}")
    for user in users:
        keys_of = "  ".join(user.keys)
        click.echo(
            f"{user.name}: {', '.join(sorted(user.roles))} on {', '.join(user.queues)}  {keys_of}"
        )


@keys.command(epilog=EXIT_CODES)
@click.argument("name")
@dir_option
def revoke(name: str, directory: str) -> None:
    """Let a client in no more, and hear it no more if it is connected.

    A running broker does so within two seconds: what a worker of it has goes to others.

    \b
    zqueue keys revoke worker-h2
    """
    text, users = _list_of(directory)
    _find(users, name)
    files.write_list(Path(directory, CLIENTS), without_user(text, name))
    click.echo(f"{name} is not let in any more")


@keys.command(epilog=EXIT_CODES)
@click.argument("name", required=False)
@click.option("--broker", is_flag=True, show_envvar=True,
              help="Change the broker's own key, not a client's.")  # fmt: skip
@click.option("--finish", is_flag=True, show_envvar=True,
              help="All use the new key: end the old one.")  # fmt: skip
@click.option("-o", "--output", metavar="FILE", type=click.Path(dir_okay=False), show_envvar=True,
              help="Where the client's new key file is written.  [default: NAME.key]")  # fmt: skip
@dir_option
def rotate(
    name: str | None, broker: bool, finish: bool, output: str | None, directory: str
) -> None:
    """Change a key, in two steps: both are good until the second.

    \b
    zqueue keys rotate worker-h2 -o new.key     copy new.key to h2, restart its workers
    zqueue keys rotate worker-h2 --finish       the old one is not let in any more
    zqueue keys rotate --broker                 add the key it prints to 'broker_keys' of clients
    zqueue keys rotate --broker --finish        then restart the broker
    """
    if broker == (name is not None):
        raise ConfigError("name a client whose key is to change, or give --broker")
    if name is None:
        _rotate_broker(directory, finish)
        return
    text, users = _list_of(directory)
    user = _find(users, name)
    if finish:
        if len(user.keys) < KEYS_MAX:
            raise ConfigError(f"{name} has one key: begin with 'zqueue keys rotate {name}'")
        changed = changed_user(text, user._replace(keys=user.keys[:1]))
        said = f"{name} has the new key only"
    else:
        if len(user.keys) == KEYS_MAX:
            raise ConfigError(f"{name} has two keys: end the old one with --finish")
        pair = files.make_pair()
        _write_client(directory, text, name, pair, output)
        changed = changed_user(text, user._replace(keys=(pair.public, *user.keys)))
        said = f"{name} has two keys; once it uses the new one: zqueue keys rotate {name} --finish"
    files.write_list(Path(directory, CLIENTS), changed)
    click.echo(said)


def _rotate_broker(directory: str, finish: bool) -> None:
    now, following = Path(directory, BROKER_KEY), Path(directory, BROKER_NEXT_KEY)
    if finish:
        if not following.exists():
            raise ConfigError("there is no new key: begin with 'zqueue keys rotate --broker'")
        os.replace(following, now)
        click.echo("restart the broker: it has the new key then")
        return
    files.read_broker_pair(directory)
    pair = files.make_pair()
    files.write_secret(following, files.broker_lines(pair))
    click.echo(f"the broker's next public key is {pair.public}")
    click.echo(
        "add it to 'broker_keys' in the key file of each client, behind the one that is there; "
        "then: zqueue keys rotate --broker --finish, and restart the broker"
    )


def _write_client(directory: str, text: str, name: str, pair: KeyPair, output: str | None) -> None:
    broker_keys = [files.read_broker_pair(directory).public]
    if Path(directory, BROKER_NEXT_KEY).exists():
        broker_keys.append(files.read_broker_pair(directory, BROKER_NEXT_KEY).public)
    urls = files.urls_of(text)
    lines = files.client_lines(ClientKey(name, pair, tuple(broker_keys), urls))
    path = Path(output or f"{name}.key")
    files.write_secret(path, lines)
    click.echo(f"wrote {path}")


def _list_of(directory: str) -> tuple[str, Users]:
    path = Path(directory, CLIENTS)
    if not path.exists():
        raise ConfigError(f"there is no {path}: make it with 'zqueue keys init'")
    return path.read_text("utf-8"), files.read_users(directory)


def _find(users: Users, name: str) -> User:
    user = users.get(name)
    if user is None:
        raise ConfigError(f"there is no client {name!r}: 'zqueue keys ls' shows them")
    return user


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name: use 1 to 64 of A-Z a-z 0-9 _ . -")


def _check_key(key: str) -> None:
    if not KEY.fullmatch(key):
        raise ConfigError(f"{key!r} is no public key: it has 40 characters")
