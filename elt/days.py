"""Log days: what a run's logical date names, and when a day can be processed."""

from datetime import UTC, date, datetime, timedelta

from elt.errors import PipelineError


def named_by(logical_date: datetime | None) -> str:
    """The log day, `YYYY-MM-DD`, that a run of this logical date processes: the day that begins then, UTC.

    Raises PipelineError when there is none, or when it is not midnight UTC: then it is the moment at which somebody
    triggered the run, or midnight in another `default_timezone`, and its UTC day may be another one than was meant.
    """
    if logical_date is None:
        raise PipelineError("this run has no logical date: trigger it with the log day as its logical date")
    utc = logical_date.astimezone(UTC)
    if utc.time() != datetime.min.time():
        raise PipelineError(
            f"the logical date {logical_date.isoformat()} is not midnight UTC, so that it names no log day: "
            f"trigger the run with a day as its logical date, like {utc.date()}T00:00:00+00:00 "
            "(where Airflow's [core] default_timezone is not utc, a day without an offset is midnight there)"
        )
    return str(utc.date())


def check_ended(day: str) -> None:
    """Raises PipelineError when the log day has not ended, UTC: its events are not all there yet."""
    now = datetime.now(UTC)
    if date.fromisoformat(day) >= now.date():
        ends = date.fromisoformat(day) + timedelta(1)
        raise PipelineError(
            f"{day} has not ended: it does at {ends}T00:00Z, and now it is {now:%Y-%m-%dT%H:%MZ}. "
            f"The newest log day there can be is {now.date() - timedelta(1)}"
        )


def before(day: str) -> str:
    """The day before."""
    return str(date.fromisoformat(day) - timedelta(1))
