"""`python -m elt COMMAND`: what is done to the warehouse by hand or by a deployment."""

import argparse
import json
import os
import sys
from datetime import date
from getpass import getpass, getuser
from pathlib import Path
from typing import Any

from elt import following, hiding, keys, preview, sql, warehouse, withdrawals
from elt import s3 as objects
from elt.check import check
from elt.errors import FAILURES, PipelineError
from elt.migrate import migrate
from elt.rebuild import rebuild
from elt.roles import ROLES, set_password
from elt.settings import load_settings

OWNER = "the warehouse's owner"


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; expected YYYY-MM-DD") from error


def _reason(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; analysts read there why it was done")
    return text.strip()


DAY: dict[str, Any] = {"type": _day, "metavar": "YYYY-MM-DD"}
"""How an argument that is a day is read."""

Arguments = argparse.Namespace
Commands = Any
"""What argparse calls _SubParsersAction."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m elt",
        description="Works on the warehouse that DATABASE_URL names: a libpq URI, of its owner for migrate, password "
        "and key, of recommendations_pipeline for everything else.",
        epilog="Exit status: 0 done, 1 it failed (the message says why), 2 wrong arguments.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        _add_check,
        _add_migrate,
        _add_password,
        _add_rebuild,
        _add_withdraw,
        _add_restore,
        _add_hide,
        _add_unhide,
        _add_preview,
        _add_key,
    ):
        add(commands)
    arguments = parser.parse_args()
    if wrong := [text for text in sys.argv if text != text.encode(errors="replace").decode()]:
        parser.error(f"{wrong[0]!r} is not UTF-8, as everything in the warehouse is")
    try:
        return int(arguments.run(arguments) or 0)
    except FAILURES as error:
        print(f"{arguments.command}: {str(error).strip()}", file=sys.stderr)
        return 1


# A command is a function that adds its parser, and the one that it runs: that returns the exit status, None for 0.


def _add_check(commands: Commands) -> None:
    parser = commands.add_parser(
        "check",
        help="say in seconds what would keep a night from its work; changes nothing",
        description="Checks settings, models, S3 (reading the logs, writing the outputs) and the warehouse (role, "
        "schema) as the environment says, a line each. Logs that are not there yet are no fault.",
        epilog="Exit status: 0 everything is right, 1 something is not (its lines begin with WRONG).",
    )
    parser.set_defaults(run=_check)


def _check(_: Arguments) -> int:
    wrong = 0
    for is_right, finding in check():
        print(f"{'ok   ' if is_right else 'WRONG'}  {finding}", flush=True)
        wrong += not is_right
    return 1 if wrong else 0


def _add_migrate(commands: Commands) -> None:
    parser = commands.add_parser(
        "migrate", help="bring the database to the current schema; does nothing on a current one"
    )
    parser.set_defaults(run=_migrate)


def _migrate(_: Arguments) -> None:
    print("\n".join(migrate(_url(OWNER))) or "nothing to do: the schema is current")


def _add_rebuild(commands: Commands) -> None:
    parser = commands.add_parser(
        "rebuild",
        help="load, rank and publish a range of days from S3, without Airflow",
        description="Loads, ranks and publishes every day of the range from the logs on S3, oldest first, a line each. "
        "Settings as for the DAG, from the environment. Days that are loaded already are not read again: one that was "
        "stopped is simply started again. Safe beside the nightly run. A day that fails does not stop the others.",
        epilog="Exit status: 0 every day is published, 1 some failed (their lines say why), 2 wrong arguments.",
    )
    parser.add_argument("--from", dest="first", help="first log day", required=True, **DAY)
    parser.add_argument("--to", dest="last", help="last log day", required=True, **DAY)
    parser.add_argument(
        "--reload", action="store_true", help="read the logs again even if the objects have not changed"
    )
    parser.add_argument("--incomplete", action="store_true", help="publish days even if they look like a part of one")
    parser.set_defaults(run=_rebuild, refuse=parser.error)


def _rebuild(arguments: Arguments) -> int:
    if arguments.first > arguments.last:
        arguments.refuse(f"--from {arguments.first} is after --to {arguments.last}")
    failed = rebuild(
        arguments.first,
        arguments.last,
        warehouse.opens(_url()),
        objects.client(),
        load_settings(),
        lambda line: print(line, flush=True),
        reload=arguments.reload,
        incomplete=arguments.incomplete,
    )
    if failed:
        print(f"{len(failed)} of {(arguments.last - arguments.first).days + 1} days failed", file=sys.stderr)
    return 1 if failed else 0


def _add_withdraw(commands: Commands) -> None:
    parser = commands.add_parser(
        "withdraw",
        help="take a published day back from readers",
        description="Readers see the day before at once; of its published lists on S3 the header remains. What is "
        "loaded and ranked stays. A new run of the day or restore publishes it again, nothing else does. Recorded in "
        "marts.withdrawals. Settings as for the DAG, from the environment.",
    )
    parser.add_argument("day", **DAY)
    parser.add_argument("--why", required=True, type=_reason, help="the reason; analysts read it")
    parser.add_argument("--by", help="who does it, by default who is logged in")
    parser.set_defaults(run=_withdraw)


def _withdraw(arguments: Arguments) -> int:
    newest = withdrawals.withdraw(str(arguments.day), warehouse.opens(_url()), why=arguments.why, by=_by(arguments))
    print(f"{arguments.day} is withdrawn; the newest published day is {newest}", flush=True)
    status = _write_published(str(arguments.day))
    if hiding.ranked_before(newest, sql.models(), warehouse.opens(_url())):
        print(
            f"products were hidden or unhidden since the lists of {newest} were ranked: "
            f"`python -m elt rebuild --from {newest} --to {newest}` ranks them again"
        )
    return status


def _write_published(*days: str) -> int:
    """What other programs read on S3 of the days; the warehouse's readers see it already. Returns the exit status."""
    try:
        for day in days:
            following.write_published(day, warehouse.opens(_url()), objects.client, load_settings())
    except FAILURES as error:
        print(
            f"readers of the warehouse and the API see it, published/ on S3 does not; the next night writes it there, "
            f"for a day of more than 30 days ago a rebuild of one near it: {str(error).strip()}",
            file=sys.stderr,
        )
        return 1
    return 0


def _add_restore(commands: Commands) -> None:
    parser = commands.add_parser(
        "restore",
        help="publish a withdrawn day again",
        description="Publishes what was ranked of the day; what is not kept of it is ranked again. Settings as for "
        "the DAG, from the environment.",
    )
    parser.add_argument("day", **DAY)
    parser.add_argument("--by", help="who does it, by default who is logged in")
    parser.set_defaults(run=_restore)


def _restore(arguments: Arguments) -> int:
    day, connect, by = str(arguments.day), warehouse.opens(_url()), _by(arguments)
    models = withdrawals.restore(day, sql.models(), connect, objects.client, load_settings(), by=by)
    print(f"{day} is published again: {', '.join(models)}", flush=True)
    status = _write_published(day)
    if others := withdrawals.not_as_it_was(day, connect):
        print(f"not as it was: {', '.join(others)}")
    return status


def _add_hide(commands: Commands) -> None:
    parser = commands.add_parser(
        "hide",
        help="take a product off every list, at once",
        description="Publishes the newest day again without the product, for all models; what is ranked from then on "
        "leaves it out. Lists are filled up. Settings as for the DAG, from the environment. Recorded in "
        "marts.hidden_products.",
    )
    parser.add_argument("--why", required=True, type=_reason, help="the reason; analysts read it")
    _add_product(parser, _hide)


def _add_unhide(commands: Commands) -> None:
    parser = commands.add_parser("unhide", help="allow a hidden product on the lists again, at once")
    _add_product(parser, _unhide)


def _add_product(parser: argparse.ArgumentParser, run: Any) -> None:
    parser.add_argument("advertiser", metavar="ADVERTISER")
    parser.add_argument("product", metavar="PRODUCT")
    parser.add_argument("--by", help="who does it, by default who is logged in")
    parser.set_defaults(run=run)


def _hide(arguments: Arguments) -> int:
    return _say_hidden("hidden", arguments, hiding.hide(*_hiding(arguments), why=arguments.why, by=_by(arguments)))


def _unhide(arguments: Arguments) -> int:
    return _say_hidden("not hidden any more", arguments, hiding.unhide(*_hiding(arguments), by=_by(arguments)))


def _hiding(arguments: Arguments) -> tuple[Any, ...]:
    return (
        arguments.advertiser,
        arguments.product,
        sql.models(),
        warehouse.opens(_url()),
        objects.client,
        load_settings(),
    )


def _say_hidden(done: str, arguments: Arguments, published: dict[str, list[str]]) -> int:
    print(f"{arguments.product} of {arguments.advertiser} is {done}")
    for day, changed in published.items():
        said = "no list changed: none would name it"
        print(f"{day}: {'published again: ' + ', '.join(changed) if changed else said}")
    return _write_published(*published)


def _by(arguments: Arguments) -> str:
    return arguments.by or getuser()


def _add_preview(commands: Commands) -> None:
    parser = commands.add_parser(
        "preview",
        help="what a new or changed model would have listed; publishes nothing",
        description="Ranks the stored days of the range by the file, a line a day: how its lists differ from the "
        "published ones of a model, and what became of both the day after (with half of 95 percent intervals).",
    )
    parser.add_argument("file", type=Path, help="the model's file, in sql/models or elsewhere")
    parser.add_argument("--from", dest="first", help="first log day", required=True, **DAY)
    parser.add_argument("--to", dest="last", help="last log day", required=True, **DAY)
    parser.add_argument("--against", help="the published model; by default the one of the file's name, or Recommended")
    parser.add_argument("--json", action="store_true", help="everything as one JSON document, instead of lines")
    parser.set_defaults(run=_preview, refuse=parser.error)


def _preview(arguments: Arguments) -> None:
    if arguments.first > arguments.last:
        arguments.refuse(f"--from {arguments.first} is after --to {arguments.last}")
    name = sql.model(arguments.file).name
    against = arguments.against or (name if name in [model.name for model in sql.models()] else "Recommended")
    say: Any = (lambda line: None) if arguments.json else (lambda line: print(line, flush=True))
    connect = warehouse.opens(_url())
    found = preview.preview(arguments.file, against, arguments.first, arguments.last, connect, say)
    print(json.dumps(found, indent=1) if arguments.json else "\n".join(preview.report(found)))


def _add_password(commands: Commands) -> None:
    parser = commands.add_parser(
        "password",
        help="give a role a password, read from standard input",
        description=f"Gives one of {', '.join(ROLES)} a password, read from standard input. With --member-of: a role "
        "of that name with the rights and settings of the other, made if there is none: a person's own login, who can "
        "not change what others log in with.",
    )
    parser.add_argument("role")
    parser.add_argument("--member-of", choices=ROLES, help="the role whose rights and settings it has")
    parser.set_defaults(run=_set_password)


def _set_password(arguments: Arguments) -> None:
    role = arguments.role
    secret = getpass(f"Password for {role}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if not secret:
        raise PipelineError("the password is empty; nothing was changed")
    set_password(_url(OWNER), role, secret, arguments.member_of)
    print(f"{role} has a new password")


def _add_key(commands: Commands) -> None:
    parser = commands.add_parser(
        "key",
        help="make, list and revoke the keys that the API is asked with, where API_ACCESS=keys",
        description="Keys of the API. DATABASE_URL is that of the warehouse's owner. What is done is in force for "
        "every worker when the command returns.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser(
        "create",
        help="make a key; it is printed once and kept by nobody",
        description="Prints the key, which can not be had again: only its hash is stored.",
    )
    create.add_argument("name", metavar="NAME", help="what it is called, for ever: 1 to 64 letters, digits, . _ -")
    create.add_argument(
        "--advertiser",
        dest="advertisers",
        metavar="ID",
        action="append",
        default=[],
        help="an advertiser that it may read, and no others; may be repeated. Without it: everything",
    )
    create.add_argument("--expires", help="the day, UTC, from whose beginning on it is refused", **DAY)
    create.set_defaults(run=_create_key)
    actions.add_parser("list", help="all keys, a line each: name, what it reads, made on, state").set_defaults(
        run=_list_keys
    )
    revoke = actions.add_parser("revoke", help="refuse a key from now on")
    revoke.add_argument("name", metavar="NAME")
    revoke.set_defaults(run=_revoke_key)


def _create_key(arguments: Arguments) -> None:
    connect = warehouse.opens(_url(OWNER))
    key, unknown = keys.create(arguments.name, arguments.advertisers, arguments.expires, connect)
    for advertiser in unknown:
        print(f"no published day has an advertiser {advertiser!r} on its active list, yet", file=sys.stderr)
    print(f"the key {arguments.name} is in force; it is shown this once", file=sys.stderr)
    print(key)


def _list_keys(_: Arguments) -> None:
    for name, reads, made, state in keys.listed(warehouse.opens(_url(OWNER))):
        print(f"{name:<24} {made}  {state:<22}  reads {reads}")


def _revoke_key(arguments: Arguments) -> None:
    changed = keys.revoke(arguments.name, warehouse.opens(_url(OWNER)))
    print(
        f"the key {arguments.name} {'is refused from now on' if changed else 'was revoked before; nothing was changed'}"
    )


def _url(whom: str = "recommendations_pipeline") -> str:
    """DATABASE_URL, which should be that of `whom`."""
    if url := os.environ.get("DATABASE_URL"):
        warehouse.check_url(url)
        return url
    raise PipelineError(f"DATABASE_URL is not set; set it to the libpq URI of {whom}")


if __name__ == "__main__":
    sys.exit(main())
