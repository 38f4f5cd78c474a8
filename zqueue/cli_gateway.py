"""The verbs of the gateway: gateway, and tokens add, ls, revoke."""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path

import click

from .auth.files import read_list, write_list
from .auth.tokens import HEAD, ROLES, hash_of, parse_tokens, with_token, without_token
from .auth.users import NAME, PATTERN, User
from .config import GatewayConfig
from .errors import ConfigError
from .options import EXIT_CODES, json_option, url_option


@click.command(epilog=EXIT_CODES)
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:8080", show_envvar=True,
              help="Address of the HTTP server.")  # fmt: skip
@url_option
@click.option("--tokens", metavar="FILE", type=click.Path(dir_okay=False), show_envvar=True,
              help="Let in only who shows a token that this list knows (see 'zqueue tokens "
                   "--help'). It is read again when it changes.")  # fmt: skip
@click.option("--certificate", metavar="FILE", type=click.Path(dir_okay=False), show_envvar=True,
              help="Serve HTTPS with this certificate, and its chain (PEM).")  # fmt: skip
@click.option("--private-key", metavar="FILE", type=click.Path(dir_okay=False), show_envvar=True,
              help="The certificate's private key (PEM).")  # fmt: skip
@click.option("--connections", default=4_096, type=click.IntRange(1, 100_000), show_envvar=True,
              help="Connections that may be open at once.")  # fmt: skip
@click.option("--insecure-no-auth", is_flag=True, show_envvar=True,
              help="Listen on addresses that other machines can reach, without any "
                   "authentication.")  # fmt: skip
def gateway(
    listen: str, url: str, tokens: str | None, certificate: str | None, private_key: str | None,
    connections: int, insecure_no_auth: bool,
) -> None:  # fmt: skip
    """Take tasks and give out results over HTTP, in the foreground.

    /openapi.json describes all calls, docs/gateway.md explains them. The extra 'http' makes it
    quicker.

    \b
    zqueue gateway
    curl -d '[21]' -H 'Content-Type: application/json' -H 'Prefer: wait=5' \\
         localhost:8080/v1/tasks/double
    curl -T events.ndjson -X POST -H 'Content-Type: application/x-ndjson' \\
         localhost:8080/v1/queues/events
    zqueue gateway --listen 0.0.0.0:8080 --tokens tokens.toml
    zqueue gateway --listen 0.0.0.0:8443 --tokens tokens.toml \\
                   --certificate chain.pem --private-key key.pem

    SIGTERM or SIGINT: take no new connections, answer what was asked, stop.
    """
    from .gateway.process import run_gateway

    config = GatewayConfig(
        listen=listen,
        url=url,
        tokens=tokens,
        certificate=certificate,
        private_key=private_key,
        connections_max=connections,
        insecure=insecure_no_auth,
    )
    sys.exit(run_gateway(config))


file_option = click.option(
    "--file", "path", metavar="FILE", default="tokens.toml", show_default=True, show_envvar=True,
    type=click.Path(dir_okay=False), help="The gateway's list of tokens.",
)  # fmt: skip


@click.group(epilog=EXIT_CODES)
def tokens() -> None:
    """Make tokens for a gateway, and say what each may do. The list has only their hashes.

    \b
    zqueue tokens add shop --role produce --queues 'mail*'      prints the token, once
    zqueue gateway --listen 0.0.0.0:8080 --tokens tokens.toml
    zqueue tokens revoke shop                                   at once, no restart
    """


@tokens.command(epilog=EXIT_CODES)
@click.argument("name")
@click.option("--role", "roles", multiple=True, required=True, type=click.Choice(list(ROLES)),
              show_envvar=True, help="; ".join(f"{r}: {what}" for r, what in ROLES.items())
              + ". May be repeated.")  # fmt: skip
@click.option("--queues", metavar="PATTERN,…", default="*", show_envvar=True,
              help="Queues that it is for, as in 'mail*,web'.")  # fmt: skip
@file_option
def add(name: str, roles: tuple[str, ...], queues: str, path: str) -> None:
    """Make a token NAME, and print it. It cannot be shown again.

    \b
    zqueue tokens add shop --role produce --queues 'mail*,images'
    zqueue tokens add watch --role observe > watch.token
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name: write 1 to 64 of A-Z a-z 0-9 _ . -")
    patterns = tuple(queues.split(","))
    if not all(map(PATTERN.fullmatch, patterns)):
        raise ConfigError(f"{queues!r}: write patterns of queues with commas, as in 'mail*,web'")
    secret = secrets.token_urlsafe(32)
    user = User(name, (hash_of(secret.encode()),), frozenset(roles), patterns)
    text = read_list(path) if Path(path).exists() else HEAD
    write_list(Path(path), with_token(text, user, path))
    click.echo(f"{name}.{secret}")


@tokens.command(epilog=EXIT_CODES)
@file_option
@json_option
def ls(path: str, as_json: bool) -> None:
    """Show whose tokens there are, and what they may do.

    \b
    zqueue tokens ls
    """
    told = [
        {"name": user.name, "roles": sorted(user.roles), "queues": list(user.queues)}
        for user in parse_tokens(read_list(path), path)
    ]
    if as_json:
        click.echo(json.dumps(told))
        return
    for each in told:
        click.echo(f"{each['name']}: {', '.join(each['roles'])} on {', '.join(each['queues'])}")


@tokens.command(epilog=EXIT_CODES)
@click.argument("name")
@file_option
def revoke(name: str, path: str) -> None:
    """Let nobody in with token NAME any more: at once, also where a gateway runs.

    \b
    zqueue tokens revoke shop
    """
    write_list(Path(path), without_token(read_list(path), name, path))
    click.echo(f"{name} is revoked")
