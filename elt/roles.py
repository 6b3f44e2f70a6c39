"""Passwords of the roles that migrations make, and login roles of people that are members of one."""

from psycopg2 import sql as identifiers
from psycopg2.extensions import cursor as Cursor
from psycopg2.extensions import encrypt_password

from elt import warehouse
from elt.errors import PipelineError

ROLES = ("recommendations_pipeline", "recommendations_api", "recommendations_analyst")


def set_password(database_url: str, name: str, secret: str, member_of: str | None = None) -> None:
    """Gives the role a password; with `member_of` it is a role of its own with the rights and settings of that one,
    made when there is none of the name. Who logs in as a member can not change what others log in with.

    The server is sent a SCRAM verifier, so that the password itself reaches neither its log nor its memory. Raises
    PipelineError for a role that is neither one of ROLES nor a member of `member_of`.
    """
    with warehouse.session(warehouse.opens(database_url)) as conn, conn, conn.cursor() as cursor:
        if member_of:
            _make_member(cursor, name, member_of)
        elif name not in ROLES:
            raise PipelineError(f"{name} is not one of {', '.join(ROLES)}; whose member is it? --member-of ROLE")
        verifier = encrypt_password(secret, name, conn, "scram-sha-256")
        alter = identifiers.SQL("ALTER ROLE {} PASSWORD %s").format(identifiers.Identifier(name))
        cursor.execute(alter, (verifier,))


def _make_member(cursor: Cursor, name: str, of: str) -> None:
    # Who made a role is a member of it, too.
    cursor.execute(
        "SELECT pg_has_role(rolname, %s, 'MEMBER') AND NOT (rolsuper OR rolcreaterole) FROM pg_roles "
        "WHERE rolname = %s",
        (of, name),
    )
    match cursor.fetchone():
        case (False,):
            raise PipelineError(f"there is a role {name}, which is no member of {of}; nothing was changed")
        case None:
            make = identifiers.SQL("CREATE ROLE {} LOGIN IN ROLE {}")
            cursor.execute(make.format(identifiers.Identifier(name), identifiers.Identifier(of)))
    # Settings come with the name that logs in, not with membership.
    warehouse.run(cursor, "queries/role_settings", role=of)
    for setting, value in cursor.fetchall():
        alter = identifiers.SQL("ALTER ROLE {} SET {} = %s")
        cursor.execute(alter.format(identifiers.Identifier(name), identifiers.Identifier(setting)), (value,))
