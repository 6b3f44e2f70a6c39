"""TLS, and that no secret shows where somebody could read it."""

import datetime
import ipaddress
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest
from conftest import DAY, URIS, Night, Warehouse
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from elt.errors import PipelineError
from elt.settings import PROJECT, Settings, load_settings
from local.airflow import free_port
from local.api import serve

pytestmark = pytest.mark.model_blind

SOME: dict[str, Any] = dict.fromkeys(URIS, "s3://b/k")


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, which is its own authority; returns (certificate, key)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


class TlsFront(threading.Thread):
    """Requires TLS as RDS with rds.force_ssl does, and passes on to the embedded server, which is built without TLS."""

    def __init__(self, target_port: int, cert: Path, key: Path) -> None:
        super().__init__(daemon=True)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert, key)
        self.target_port = target_port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.encrypted = 0

    def run(self) -> None:
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        request = plain.recv(8)
        if request != b"\x00\x00\x00\x08\x04\xd2\x16\x2f":  # SSLRequest
            plain.close()
            return
        plain.sendall(b"S")
        try:
            client = self.context.wrap_socket(plain, server_side=True)
        except (ssl.SSLError, OSError):
            return
        self.encrypted += 1
        server = socket.create_connection(("127.0.0.1", self.target_port))
        threading.Thread(target=_pump, args=(server, client), daemon=True).start()
        _pump(client, server)


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    finally:
        for end in (source, target):
            end.close()


@contextmanager
def tls_front(warehouse: Warehouse, folder: Path) -> Iterator[tuple[TlsFront, Path]]:
    """A running front for the warehouse's server, and the authority of its certificate."""
    cert, key = certificate(folder, "rds")
    server = TlsFront(warehouse.postgres.port, cert, key)
    server.start()
    yield server, cert
    server.listener.close()


@pytest.fixture
def front(warehouse: Warehouse, tmp_path: Path) -> Iterator[tuple[TlsFront, Path]]:
    with tls_front(warehouse, tmp_path) as running:
        yield running


def tls_url(warehouse: Warehouse, role: str, port: int, ca: Path, mode: str = "verify-full") -> str:
    plain = warehouse.url(role).replace(f":{warehouse.postgres.port}/", f":{port}/")
    return f"{plain}?sslmode={mode}&sslrootcert={ca}"


def test_tls_with_a_verified_certificate_for_migrations_pipeline_and_api(
    delivered: Night, front: tuple[TlsFront, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, ca = front
    warehouse = delivered.warehouse
    url = tls_url(warehouse, "master", server.port, ca)
    done = subprocess.run(
        [sys.executable, "-m", "elt", "migrate"],
        env=os.environ | {"DATABASE_URL": url},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "nothing to do: the schema is current\n"
    pipeline = tls_url(warehouse, "recommendations_pipeline", server.port, ca)
    monkeypatch.setattr(warehouse, "connect", lambda: psycopg2.connect(pipeline))
    delivered.run()
    port = free_port()
    with serve(port, tls_url(warehouse, "recommendations_api", server.port, ca), tmp_path / "api.log"):
        assert httpx.get(f"http://127.0.0.1:{port}/recommendations/ACME/TopCTR").status_code == 200
    assert server.encrypted >= 6


def test_a_server_that_can_not_prove_who_it_is_is_refused(
    warehouse: Warehouse, front: tuple[TlsFront, Path], tmp_path: Path
) -> None:
    server, ca = front
    other_ca, _ = certificate(tmp_path, "someone-else")
    with pytest.raises(psycopg2.OperationalError, match="certificate verify failed"):
        psycopg2.connect(tls_url(warehouse, "recommendations_api", server.port, other_ca))
    with pytest.raises(psycopg2.OperationalError, match="does not match host name"):
        psycopg2.connect(tls_url(warehouse, "recommendations_api", server.port, ca).replace("127.0.0.1", "localhost"))
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(tls_url(warehouse, "recommendations_api", server.port, ca, mode="disable"))


def test_iam_authentication_by_the_airflow_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider makes the token, which takes the place of the password. AWS is not asked: a token is only signed.

    The connection is not opened: no server here would accept the token.
    """
    from elt import connections

    opened = {}
    monkeypatch.setattr(psycopg2, "connect", lambda **arguments: opened.update(arguments))
    for name, value in {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv(
        "AIRFLOW_CONN_RECOMMENDATIONS_DB",
        '{"conn_type": "postgres", "host": "db.example", "login": "recommendations_pipeline",'
        ' "schema": "recommendations",'
        ' "port": 5432, "extra": {"iam": true, "aws_conn_id": null, "region_name": "us-east-1",'
        ' "sslmode": "verify-full", "sslrootcert": "/etc/rds.pem"}}',
    )
    connections.warehouse(Settings(**SOME))()
    assert opened["user"] == "recommendations_pipeline"
    assert opened["password"].startswith("db.example:5432/?Action=connect")
    assert (opened["sslmode"], opened["sslrootcert"]) == ("verify-full", "/etc/rds.pem")


def test_settings_do_not_show_the_password_however_they_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    from api.settings import Settings as ApiSettings

    url = "postgresql://u:hunter2@h/d"
    for settings in (Settings(database_url=url, **SOME), ApiSettings(database_url=url)):
        for shown in (repr(settings), str(settings), settings.model_dump_json(), f"{settings.model_dump()}"):
            assert "hunter2" not in shown
    for name, value in SOME.items():
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.setenv("ADS_VIEWS_URI", "http://hunter2")
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(PipelineError, match="ADS_VIEWS_URI: it is no s3://BUCKET/KEY") as wrong:
        load_settings()
    assert "hunter2" not in str(wrong.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://master:s3cr%zzet@127.0.0.1/recommendations",
        "postgresql://master:s3cr%00et@127.0.0.1/recommendations",
        "host=127.0.0.1 user=master password=s3 cr",
        "postgresql://master@127.0.0.1/recommendations?passwort=s3cr",
        "postgresql://master:12@s3cr@127.0.0.1/recommendations",
        "postgresql://master:s3cr/12@127.0.0.1/recommendations",
        "postgresql://master:12/s3cr@127.0.0.1/recommendations",
        "postgresql://master:s3cr%ffet@127.0.0.1/recommendations",
        "host=127.0.0.1 port=s3cr user=master",
    ],
    ids=["% not encoded", "% of nothing", "a blank", "a slip", "@", "/", "a number and /", "no UTF-8", "the port"],
)
@pytest.mark.parametrize("command", [["migrate"], ["rebuild", "--from", "2024-11-20", "--to", "2024-11-20"]])
def test_a_url_that_can_not_be_read_is_not_told(url: str, command: list[str]) -> None:
    """libpq says of it what it stumbled over, the password."""
    uris = {f"{name}_URI": "s3://b/k" for name in ("ADVERTISERS", "PRODUCT_VIEWS", "ADS_VIEWS", "INTERMEDIATE")}
    env = os.environ | uris | {"DATABASE_URL": url, "AWS_DEFAULT_REGION": "us-east-1"}
    done = subprocess.run([sys.executable, "-m", "elt", *command], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "s3" not in done.stdout + done.stderr.replace("s3://", "")
    assert "DATABASE_URL can not be read; it is postgresql://ROLE:PASSWORD@HOST:PORT/DATABASE" in done.stderr


def test_nothing_in_the_project_is_a_secret() -> None:
    files = subprocess.run(
        ["git", "-C", PROJECT, "ls-files"], capture_output=True, text=True, check=True
    ).stdout.split()
    for name in filter(lambda name: (PROJECT / name).exists(), files):
        text = (PROJECT / name).read_text(errors="ignore")
        assert "BEGIN " + "PRIVATE KEY" not in text, name
        assert "AKIA" + "IOSF" not in text, name


def test_the_logs_of_the_services_do_not_show_the_password(delivered: Night, tmp_path: Path, s3_url: str) -> None:
    """A run that works, a run that can not log in: neither shows the password, the URI, or the S3 keys."""
    delivered.run()
    env = delivered.environment(s3_url) | {"AWS_SECRET_ACCESS_KEY": "s3-s3cret"}
    wrong = delivered.warehouse.url("recommendations_pipeline").replace(
        delivered.warehouse.postgres.password, "wr0ng-s3cret"
    )
    for url in (delivered.warehouse.url("recommendations_pipeline"), wrong):
        script = Path(__file__).with_name("night_process.py")
        done = subprocess.run(
            [sys.executable, str(script), DAY],
            env=os.environ | env | {"DATABASE_URL": url},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) == (url != wrong)
        for secret in ("wr0ng-s3cret", "s3-s3cret", delivered.warehouse.postgres.password):
            assert secret not in done.stdout + done.stderr
