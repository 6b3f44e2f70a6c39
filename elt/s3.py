"""Reading and writing S3 objects as streams, in constant memory."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedWriter
from typing import IO, Any, cast

import boto3
import smart_open
from botocore.exceptions import BotoCoreError, ClientError
from isal import igzip, igzip_lib

from elt.errors import NotYet, PipelineError

PART_BYTES = 16 * 1024 * 1024
"""Size of a part of a multipart upload: what one upload holds in memory. S3 takes 10,000 parts: 160 GB an object."""


@dataclass(frozen=True)
class SourceObject:
    """One object of a delivery, pinned to the bytes that were listed: reading it fails if it was replaced since."""

    uri: str
    etag: str
    size: int


def client(**options: Any) -> Any:
    """An S3 client, as the environment says by the SDK's own names. Raises PipelineError when it says what can not be.

    Nothing is asked of S3, nor of credentials.
    """
    try:
        return boto3.client("s3", **options)
    except (BotoCoreError, ValueError) as error:
        raise PipelineError(
            f"S3: {error}; set AWS_ENDPOINT_URL_S3, AWS_DEFAULT_REGION, AWS_PROFILE and their like to what they should "
            "be, or unset them"
        ) from error


def find(s3: Any, uri: str) -> list[SourceObject]:
    """The objects that a source URI means: one object, or with a final `/` every object under the prefix.

    Under a prefix some are no part of a delivery, as `_is_delivered` says, and left out. Raises NotYet when there is
    none, PipelineError when S3 refuses.
    """
    bucket, key = uri.removeprefix("s3://").split("/", 1)
    try:
        if not key.endswith("/"):
            head = s3.head_object(Bucket=bucket, Key=key)
            return [SourceObject(uri, head["ETag"].strip('"'), head["ContentLength"])]
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
        listed = [item for page in pages for item in page.get("Contents", [])]
        found = [
            SourceObject(f"s3://{bucket}/{item['Key']}", item["ETag"].strip('"'), item["Size"])
            for item in listed
            if item["Size"] and _is_delivered(item["Key"].removeprefix(key))
        ]
    except ClientError as error:
        raise _explained(error, uri) from error
    if not found:
        others = f" ({len(listed)} are empty, or leftovers and markers by their names)" if listed else ""
        raise NotYet(f"{uri}: no object under this prefix yet; expected at least one log object{others}")
    return found


def _is_delivered(name: str) -> bool:
    """Is the object of this name under a prefix one that a writer left there for good?

    Not what Spark, Hive and Hadoop leave behind: a folder or an object whose name begins with `_` or `.` (`_SUCCESS`,
    `_temporary/`, `.hive-staging_x/`), `x_$folder$`, `x._COPYING_`.
    """
    return not name.endswith(("/", "_$folder$", "._COPYING_")) and not re.search(r"(^|/)[_.]", name)


def check_readable(s3: Any, uri: str) -> str:
    """Reads the first byte of what the source URI means. Returns what is there.

    Raises NotYet when there is nothing yet, PipelineError when there is no such bucket or S3 refuses.
    """
    bucket, key = uri.removeprefix("s3://").split("/", 1)
    try:
        s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
    except ClientError as error:
        raise _explained(error, uri) from error
    found = find(s3, uri)
    with reader(s3, found[0]) as opened:
        opened.read(1)
    return f"{uri}: {len(found)} object{'s' if len(found) > 1 else ''}"


def check_writable(s3: Any, uri: str) -> str:
    """Begins to write an object, and gives it up: nothing is left. Returns what was tried.

    Raises PipelineError when there is no such bucket or S3 refuses, NotYet when it fails.
    """
    bucket, key = uri.removeprefix("s3://").split("/", 1)
    try:
        upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
    except ClientError as error:
        raise _explained(error, uri, writing=True) from error
    return f"{uri.rpartition('/')[0]}/ can be written"


def load_of(s3: Any, uri: str) -> str | None:
    """The load that the object says it is of; None when it is not there or does not say."""
    bucket, key = uri.removeprefix("s3://").split("/", 1)
    try:
        return cast(str | None, s3.head_object(Bucket=bucket, Key=key)["Metadata"].get("load"))
    except ClientError as error:
        if isinstance(explained := _explained(error, uri), NotYet):
            return None
        raise explained from error


def etags(s3: Any, prefix: str, first: str, last: str) -> dict[str, str]:
    """The ETags of the objects under the prefix whose names after it are from `first` up to `last`, by these names.

    Raises NotYet or PipelineError when S3 refuses.
    """
    bucket, key = prefix.removeprefix("s3://").split("/", 1)
    found: dict[str, str] = {}
    try:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key, StartAfter=key + first):
            for item in page.get("Contents", []):
                if (name := item["Key"].removeprefix(key)) > last:
                    return found
                found[name] = item["ETag"].strip('"')
    except ClientError as error:
        raise _explained(error, prefix) from error
    return found


@contextmanager
def reader(s3: Any, item: SourceObject) -> Iterator[IO[bytes]]:
    """The object's bytes, decompressed when its name ends in `.gz`. A broken connection resumes where it broke.

    Raises NotYet when the object was replaced since it was listed, PipelineError when it is not a whole gzip file.
    """
    pinned = {"S3.Client.get_object": {"IfMatch": item.etag}}
    try:
        with smart_open.open(
            item.uri,
            "rb",
            compression="disable",
            transport_params={"client": s3, "client_kwargs": pinned, "defer_seek": True},
        ) as raw:
            if not item.uri.endswith(".gz"):
                yield raw
                return
            with igzip.IGzipFile(fileobj=raw, mode="rb") as unzipped:
                yield cast(IO[bytes], unzipped)
    except (EOFError, igzip.BadGzipFile, igzip_lib.IsalError) as error:  # type: ignore[misc] # its stub: an instance
        raise PipelineError(f"{item.uri}: not a whole gzip file ({error}); deliver it again") from error
    except (OSError, ClientError) as error:
        if refusal := _refusal(error):
            raise _explained(refusal, item.uri) from error
        raise


@contextmanager
def gzip_writer(s3: Any, uri: str, **metadata: str) -> Iterator[BufferedWriter]:
    """A stream that becomes the gzipped object at `uri` when the block ends, and nothing when it raises.

    The same bytes in give the same bytes out: the gzip header carries neither time nor name. The metadata are the
    object's. Raises NotYet or PipelineError when S3 refuses.
    """
    said = {"S3.Client.create_multipart_upload": {"Metadata": metadata}}
    params = {"client": s3, "min_part_size": PART_BYTES, "client_kwargs": said}
    try:
        with smart_open.open(uri, "wb", compression="disable", transport_params=params) as raw:
            zipped = igzip.IGzipFile(filename="", fileobj=raw, mode="wb", compresslevel=1, mtime=0)
            # COPY hands over a row at a time; compress in larger pieces.
            buffered = BufferedWriter(cast(Any, zipped), 1024 * 1024)
            yield buffered
            buffered.close()
    except (OSError, ValueError, ClientError) as error:
        if refusal := _refusal(error):
            raise _explained(refusal, uri, writing=True) from error
        raise


def _refusal(error: BaseException | None) -> ClientError | None:
    """What S3 answered, if that is what smart_open's error is about."""
    if error is None or isinstance(error, ClientError):
        return error
    return _refusal(getattr(error, "backend_error", None) or error.__cause__)


PASSING = {
    *("SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded"),
    *("OperationAborted", "ConditionalRequestConflict", "ExpiredToken", "NoSuchUpload"),
}
"""Codes below 500 that a later try may not meet."""


def _explained(error: ClientError, uri: str, *, writing: bool = False) -> PipelineError:
    """What S3's answer means for the object, in its own words: only they tell a key that is denied from a policy."""
    code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    bucket = uri.removeprefix("s3://").split("/", 1)[0]
    said = f"S3 answered {code}: {message}"
    if code in ("412", "PreconditionFailed"):
        return NotYet(f"{uri}: the object was replaced while it was being read")
    if code in ("404", "NoSuchKey") and not writing:
        return NotYet(f"{uri}: no such object yet")
    if code == "NoSuchBucket" and not writing:
        return PipelineError(f"{uri}: there is no bucket {bucket!r}; check the URI ({said})")
    if code in ("403", "AccessDenied") and not writing:
        needs = (
            f"the role needs s3:GetObject and s3:ListBucket on {bucket!r}, and the use of its key if it is encrypted"
        )
        return PipelineError(f"{uri}: access denied; {needs} ({said})")
    if status >= 500 or code in PASSING:
        return NotYet(f"{uri}: {said}")
    if writing:
        return PipelineError(
            f"{uri}: can not be written, {said}; the bucket of INTERMEDIATE_URI must exist, and the role needs "
            "s3:PutObject and s3:AbortMultipartUpload in it, and the use of its key if it is encrypted"
        )
    return PipelineError(f"{uri}: can not be read, {said}")
