"""What is shipped: the project's files at a git commit, as the machine's release and as the API's image.

Never the working tree: `git archive` takes the commit itself, so that what runs under a revision is that revision.
"""

import base64
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
from contextlib import suppress
from pathlib import Path

import boto3
from botocore.exceptions import ClientError

from deploy.formation import Refused, region, say

PROJECT = Path(__file__).resolve().parent.parent
CA_URL = "https://truststore.pki.rds.amazonaws.com/{region}/{region}-bundle.pem"
AGENT_URL = "https://s3.{region}.amazonaws.com/amazon-ssm-{region}/{version}"
AGENT_KEY = PROJECT / "deploy" / "ca" / "amazon-ssm-agent.asc"
AGENT_KEY_PAGE = "https://docs.aws.amazon.com/systems-manager/latest/userguide/verify-agent-signature.html"


def commit(revision: str = "") -> str:
    """The full id of a commit: of the revision, or of what is checked out, of which nothing may be uncommitted.

    With a revision only the template and what brings it to AWS are taken from the checkout.
    """
    if changed := _git("status", "--porcelain", *(["--", "deploy"] if revision else [])):
        raise Refused(f"what is deployed is a commit; commit or stash first:\n{changed}")
    try:
        return _git("rev-parse", "--verify", f"{revision or 'HEAD'}^{{commit}}")
    except subprocess.CalledProcessError:
        raise Refused(f"git knows no revision {revision!r}") from None


def pack(revision: str, target: Path, authorities: bytes) -> None:
    """Writes the commit's files, and RDS's certificate authorities, as .tar.gz: root's, for all to read."""

    def of_root_for_all(item: tarfile.TarInfo) -> tarfile.TarInfo:
        item.uid = item.gid = 0
        item.uname = item.gname = "root"
        item.mode |= 0o444
        return item

    archived = subprocess.run(["git", "-C", PROJECT, "archive", revision], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archived)) as files, tarfile.open(target, "w:gz") as archive:
        for item in files:
            archive.addfile(of_root_for_all(item), files.extractfile(item) if item.isreg() else None)
        item = tarfile.TarInfo("deploy/ca/rds.pem")
        item.size = len(authorities)
        archive.addfile(of_root_for_all(item), io.BytesIO(authorities))


def upload(bucket: str, revision: str) -> None:
    """Puts the machine's release into the bucket; once."""
    store, key = boto3.client("s3"), f"releases/{revision}.tar.gz"
    try:
        store.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] != "404":
            raise
    else:
        say(f"the release {revision[:12]} is in the bucket")
        return
    with tempfile.NamedTemporaryFile(suffix=".tar.gz") as file:
        pack(revision, Path(file.name), fetched(CA_URL.format(region=region())))
        store.upload_file(file.name, bucket, key)
    say(f"uploaded s3://{bucket}/{key}")


def image(uri: str, revision: str) -> None:
    """Builds the API's image and pushes it to the repository, tagged with the revision; once."""
    registry, _, repository = uri.partition("/")
    ecr = boto3.client("ecr")
    with suppress(ecr.exceptions.ImageNotFoundException):
        ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": revision}])
        say(f"the image {revision[:12]} is in ECR")
        return
    demand("docker", "builds the image")
    tag = f"{uri}:{revision}"
    say(f"building and pushing {tag}")
    with tempfile.NamedTemporaryFile(suffix=".tar.gz") as file:
        pack(revision, Path(file.name), fetched(CA_URL.format(region=region())))
        _call("docker", "build", "--platform", "linux/amd64", "--tag", tag, "-", given=Path(file.name).read_bytes())
    token = ecr.get_authorization_token()["authorizationData"][0]
    user, _, password = base64.b64decode(token["authorizationToken"]).decode().partition(":")
    _call("docker", "login", "--username", user, "--password-stdin", registry, given=password.encode())
    _call("docker", "push", tag)


def agent() -> tuple[str, str]:
    """Version and SHA-256 of the SSM agent's newest package. Raises Refused when it is not signed by AWS's key."""
    newest = fetched(AGENT_URL.format(region=region(), version="latest") + "/VERSION").decode().strip()
    package = AGENT_URL.format(region=region(), version=newest) + "/debian_amd64/amazon-ssm-agent.deb"
    body, signature = fetched(package), fetched(package + ".sig")
    if said := unsigned(body, signature, AGENT_KEY):
        raise Refused(
            f"{package} is not signed by the key in {AGENT_KEY.relative_to(PROJECT)}: {said}\n"
            f"AWS has a new key about every 17 months: {AGENT_KEY_PAGE} has the present one, to be put there"
        )
    return newest, hashlib.sha256(body).hexdigest()


def unsigned(body: bytes, signature: bytes, key: Path) -> str:
    """What is wrong with the signature; empty when it is the key's, and the key has not expired."""
    demand("gpgv", "verifies the signature of the SSM agent (Debian: gpgv, others: gnupg)")
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        # gpgv takes no armour.
        armoured = key.read_text().partition("\n\n")[2].partition("\n=")[0]
        (at / "key").write_bytes(base64.b64decode(armoured))
        (at / "body").write_bytes(body)
        (at / "signature").write_bytes(signature)
        files = [str(at / name) for name in ("key", "signature", "body")]
        command = ["gpgv", "--homedir", folder, "--status-fd", "1", "--keyring", *files]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    # GOODSIG is not said of a key that has expired.
    is_good = done.returncode == 0 and "[GNUPG:] GOODSIG " in done.stdout
    return "" if is_good else done.stderr.strip()


def demand(program: str, what: str) -> None:
    """Raises Refused when the program is not on this machine."""
    if not shutil.which(program):
        raise Refused(f"this machine lacks {program}, which {what}; the machine and the API are as they were")


def fetched(url: str) -> bytes:
    """What AWS publishes there, whose own certificate is verified. Raises Refused when it is not to be had."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            body: bytes = answer.read()
            return body
    except OSError as error:
        raise Refused(f"{url} is not to be had from here: {error}") from None


def _git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", PROJECT, *arguments], capture_output=True, text=True, check=True).stdout.strip()


def _call(*command: str, given: bytes | None = None) -> None:
    # Attestations would be further images in the repository, which keeps ten.
    environment = os.environ | {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    try:
        subprocess.run(command, input=given, check=True, env=environment)
    except subprocess.CalledProcessError as error:
        raise Refused(f"{' '.join(command[:2])} failed with status {error.returncode}; its message is above") from None
