"""The ledger's tables. Times are POSIX seconds (UTC) as floats; paths are relative to the data directory."""

from __future__ import annotations

from sqlalchemy import Float, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

UID = String(64)  # PS3.5 section 9.1
SHA256 = String(64)


class Base(DeclarativeBase):
    """Declarative base; its metadata is what the migrations must produce (a test compares)."""


class Study(Base):
    """A study, known from its first received instance on."""

    __tablename__ = "studies"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    study_uid: Mapped[str] = mapped_column(UID, unique=True)
    state: Mapped[str] = mapped_column(String(16), index=True)
    calling_ae: Mapped[str] = mapped_column(String(16))
    first_received_at: Mapped[float] = mapped_column(Float)
    last_received_at: Mapped[float] = mapped_column(Float)
    # When the present round of receiving began; the hard cap counts from here, also for a reopened study.
    open_since: Mapped[float | None] = mapped_column(Float)
    duplicates: Mapped[int] = mapped_column(Integer, default=0)  # images received again with the same bytes
    reason_code: Mapped[str] = mapped_column(String(64), default="")
    reason: Mapped[str] = mapped_column(Text, default="")
    hint: Mapped[str] = mapped_column(Text, default="")
    note: Mapped[str] = mapped_column(Text, default="")  # e.g. images that came after the report


class Series(Base):
    """A series of a study."""

    __tablename__ = "series"
    __table_args__ = (UniqueConstraint("study_id", "series_uid"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    series_uid: Mapped[str] = mapped_column(UID)
    modality: Mapped[str] = mapped_column(String(16), default="")


class Instance(Base):
    """A received file. The same SOP instance with other bytes is a row of its own; nothing is overwritten."""

    __tablename__ = "instances"
    __table_args__ = (UniqueConstraint("study_id", "sop_instance_uid", "sha256"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"), index=True)
    sop_instance_uid: Mapped[str] = mapped_column(UID, index=True)
    sop_class_uid: Mapped[str] = mapped_column(UID)
    transfer_syntax_uid: Mapped[str] = mapped_column(UID)
    sha256: Mapped[str] = mapped_column(SHA256)
    size_bytes: Mapped[int] = mapped_column(Integer)
    path: Mapped[str] = mapped_column(Text)
    calling_ae: Mapped[str] = mapped_column(String(16))
    received_at: Mapped[float] = mapped_column(Float)


class Job(Base):
    """One report to be made from a fixed set of instances. The same content has the same key and the same job."""

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_state_next", "state", "next_attempt_at"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    job_key: Mapped[str] = mapped_column(SHA256, unique=True)
    state: Mapped[str] = mapped_column(String(16))
    stage: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(Integer, default=0)  # at the present stage
    # Attempts at this stage that ended in a dead worker or an unforeseen error; waiting for a PACS is not one.
    failures: Mapped[int] = mapped_column(Integer, default=0)
    created_at: Mapped[float] = mapped_column(Float)
    next_attempt_at: Mapped[float] = mapped_column(Float)
    published_at: Mapped[float | None] = mapped_column(Float)  # None: no message for it is in the queue
    owner: Mapped[str | None] = mapped_column(String(128))
    lease_until: Mapped[float | None] = mapped_column(Float)
    finished_at: Mapped[float | None] = mapped_column(Float)
    last_error: Mapped[str] = mapped_column(Text, default="")
    territory: Mapped[str] = mapped_column(String(32), default="")
    report_text: Mapped[str] = mapped_column(Text, default="")


class JobInstance(Base):
    """The instances a job was opened on."""

    __tablename__ = "job_instances"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    instance_id: Mapped[int] = mapped_column(ForeignKey("instances.id"), primary_key=True)


class Delivery(Base):
    """A composed object and whether its destination has it. All objects of a job are written before any is sent."""

    __tablename__ = "deliveries"
    __table_args__ = (UniqueConstraint("job_id", "destination", "role"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    destination: Mapped[str] = mapped_column(String(300))
    role: Mapped[str] = mapped_column(String(16))  # what the object is: narrative, measurements
    sop_instance_uid: Mapped[str] = mapped_column(UID)
    sha256: Mapped[str] = mapped_column(SHA256)
    path: Mapped[str] = mapped_column(Text)
    delivered_at: Mapped[float | None] = mapped_column(Float)
    status: Mapped[int | None] = mapped_column(Integer)  # DIMSE status of the C-STORE that delivered it


class Event(Base):
    """What happened, appended and never changed. `data` is JSON; no patient data."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[float] = mapped_column(Float, index=True)
    study_id: Mapped[int | None] = mapped_column(ForeignKey("studies.id"), index=True)
    job_id: Mapped[str | None] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(32))
    text: Mapped[str] = mapped_column(Text, default="")
    data: Mapped[str] = mapped_column(Text, default="{}")
