"""The ledger's tables. Times are POSIX seconds (UTC) as floats; paths are relative to the data directory."""

from __future__ import annotations

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, String, Text, UniqueConstraint
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
    priority: Mapped[int] = mapped_column(Integer, default=0)  # a `Priority`
    priority_because: Mapped[str] = mapped_column(String(64), default="")
    removed_at: Mapped[float | None] = mapped_column(Float)  # when its images were removed; None while any is kept


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
    # When it was given up: its file is unlinked, and then `path` is "". None again once it is received again.
    removed_at: Mapped[float | None] = mapped_column(Float)


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
    started_by: Mapped[str] = mapped_column(String(16), default="")  # a `StartedBy`
    # `used_key` of the DWI and ADC images it is drafted from; "" while not known.
    used_key: Mapped[str] = mapped_column(SHA256, default="")
    revises: Mapped[str | None] = mapped_column(String(32))  # the job whose delivered report this one's replaces
    images_at: Mapped[float | None] = mapped_column(Float)  # when the last image it needed had come
    due_at: Mapped[float | None] = mapped_column(Float)  # when the report should be with the PACS
    missed_at: Mapped[float | None] = mapped_column(Float)  # when that was found not to be so


class Look(Base):
    """What a worker saw when it last looked at a study's headers."""

    __tablename__ = "looks"

    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), primary_key=True)
    seen_instance_id: Mapped[int] = mapped_column(Integer)  # the newest instance that was looked at, and all before it
    at: Mapped[float] = mapped_column(Float)
    is_clear: Mapped[int] = mapped_column(Integer)  # 1: a pair that nothing still to come is likely to beat
    counts: Mapped[str] = mapped_column(String(16))  # a `Counts`: what declared numbers of images say of the pair
    used_key: Mapped[str] = mapped_column(SHA256)  # of the pair that would be drafted from now; "" for none
    used_at: Mapped[float | None] = mapped_column(Float)  # when the last image of that pair came
    known_series: Mapped[str] = mapped_column(Text)  # JSON list of the series that were looked at
    plain_series: Mapped[str] = mapped_column(Text)  # JSON list of those of them without diffusion
    reason_code: Mapped[str] = mapped_column(String(64))  # why there is no pair; "" where there is one
    reason: Mapped[str] = mapped_column(Text)


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
    # When an attempt began of which it is not known whether it arrived: its answer was lost, or we died.
    tried_at: Mapped[float | None] = mapped_column(Float)
    delivered_at: Mapped[float | None] = mapped_column(Float)
    status: Mapped[int | None] = mapped_column(Integer)  # DIMSE status of the C-STORE that delivered it, or STOW's
    transaction_uid: Mapped[str | None] = mapped_column(UID)  # of the last commitment that was asked for it
    committed_at: Mapped[float | None] = mapped_column(Float)  # when the destination said that it keeps it
    # Failure reason of a commitment (PS3.3 C.14.1.1): the object is sent again, then this is None again.
    commit_failure: Mapped[int | None] = mapped_column(Integer)
    removed_at: Mapped[float | None] = mapped_column(Float)  # when the kept bytes were given up


class Shipment(Base):
    """One destination's share of a job: how far it is, and when it is tried again, whatever the others do."""

    __tablename__ = "shipments"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    destination: Mapped[str] = mapped_column(String(300), primary_key=True)
    state: Mapped[str] = mapped_column(String(16))  # a `ShipmentState`
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    next_attempt_at: Mapped[float] = mapped_column(Float, default=0.0)
    asks: Mapped[int] = mapped_column(Integer, default=0)  # commitments asked for since the last one that was answered
    rounds: Mapped[int] = mapped_column(Integer, default=0)  # times that objects were sent again for want of one
    commitment: Mapped[str] = mapped_column(String(16), default="")  # a `Commitment`; "" while not known
    code: Mapped[str] = mapped_column(String(64), default="")
    reason: Mapped[str] = mapped_column(Text, default="")
    hint: Mapped[str] = mapped_column(Text, default="")
    settled_at: Mapped[float | None] = mapped_column(Float)


class CommitmentTransaction(Base):
    """A storage commitment that a destination was asked for; which objects it is about stands with them."""

    __tablename__ = "commitments"

    transaction_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    destination: Mapped[str] = mapped_column(String(300))
    asked_at: Mapped[float] = mapped_column(Float)
    answered_at: Mapped[float | None] = mapped_column(Float)


class DestinationPeer(Base):
    """How a destination fared lately, over all jobs: its circuit breaker."""

    __tablename__ = "destinations"

    name: Mapped[str] = mapped_column(String(300), primary_key=True)
    failures: Mapped[int] = mapped_column(Integer, default=0)  # in a row
    retry_at: Mapped[float] = mapped_column(Float, default=0.0)  # while open: not before
    last_error: Mapped[str] = mapped_column(Text, default="")
    last_failed_at: Mapped[float | None] = mapped_column(Float)
    last_ok_at: Mapped[float | None] = mapped_column(Float)


class Retraction(Base):
    """An operator's word that a job's delivered objects are withdrawn; the note itself is a delivery of that job, or of
    another one of the study, whose objects it rejects too."""

    __tablename__ = "retractions"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    reason: Mapped[str] = mapped_column(String(32))  # a `RejectionReason`
    words: Mapped[str] = mapped_column(Text)  # the operator's own, which the note carries
    requested_at: Mapped[float] = mapped_column(Float)
    note_job_id: Mapped[str | None] = mapped_column(String(32))  # the job that the note is a delivery of; None: this


class RegistryFacts(Base):
    """Facts about a patient that the hospital gave for a study, which need not have come; the newest row counts."""

    __tablename__ = "registry_facts"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    study_uid: Mapped[str] = mapped_column(UID, index=True)
    given_at: Mapped[float] = mapped_column(Float)
    given_by: Mapped[str] = mapped_column(String(64))
    via: Mapped[str] = mapped_column(String(16))  # api or cli
    facts: Mapped[str] = mapped_column(Text)  # JSON; {} takes back. Patient data


class Removal(Base):
    """What was removed from the disk, and why: a journal; only `finished_at` is set later. No patient data."""

    __tablename__ = "removals"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[float] = mapped_column(Float)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    study_uid: Mapped[str] = mapped_column(UID)
    what: Mapped[str] = mapped_column(String(16))  # images or results
    why: Mapped[str] = mapped_column(String(16))  # a `Why`
    files: Mapped[int] = mapped_column(Integer)
    size_bytes: Mapped[int] = mapped_column(BigInteger)  # as they were registered
    finished_at: Mapped[float | None] = mapped_column(Float)  # when the last of the files was unlinked


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
