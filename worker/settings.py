"""Settings: one `pirtad.toml`, overridden by the environment, read once by `main()` and handed down frozen.

Environment names are `PIRTAD_<SECTION>__<KEY>`, e.g. `PIRTAD_LISTENER__PORT=11113`. Unknown keys and bad values are
refused with the file and line they stand on.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as UnreadableVariable

from pirtad.worker.delivery_settings import CommitmentMode, DeliverySettings
from pirtad.worker.priority_settings import PrioritySettings
from pirtad.worker.retention_settings import RetentionSettings
from pirtad.worker.series_settings import SeriesSettings

ENVIRONMENT_PREFIX = "PIRTAD_"
EMBEDDED = "embedded"

# sun_path holds 108 bytes on Linux (unix(7)); the socket's own name takes the rest.
_DATA_DIR_MAX = 90

_MOST_OBJECTS = 4  # of a job: narrative, measurements, picture, and the note that withdraws them
_SKEW_S = 10.0  # chosen: between the clocks of hosts that share a ledger

# PS3.5 table 6.2-1, VR AE: at most 16 characters, no backslash or control characters, not only spaces.
AeTitle = Annotated[str, StringConstraints(min_length=1, max_length=16, pattern=r"^[\x20-\x5b\x5d-\x7e]*$")]
Port = Annotated[int, Field(ge=1, le=65535)]
PositiveSeconds = Annotated[float, Field(gt=0)]


class SettingsError(Exception):
    """The settings can't be used; the text names file, line, key and what is wrong."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ListenerSettings(_Section):
    """Where studies are received."""

    ae_title: AeTitle = Field("PIRTAD", description="Our AE title: what the PACS calls.")
    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every interface.")
    port: Port = Field(11112, description="TCP port of the DICOM listener.")
    require_called_ae_title: bool = Field(True, description="Reject associations that call another AE title.")
    allowed_calling_ae_titles: tuple[AeTitle, ...] = Field((), description="AE titles let in; empty lets in any.")
    max_associations: int = Field(64, ge=1, description="Associations at one time.")
    max_associations_per_peer: int = Field(16, ge=1, description="Of these, from one address.")
    max_pdu_bytes: int = Field(131072, ge=4096, le=2**24, description="Largest PDU we take.")
    acse_timeout_s: PositiveSeconds = Field(30, description="A connection must ask for an association within so long.")
    dimse_timeout_s: PositiveSeconds = Field(30, description="Longest pause in a DIMSE message, and for one PDU.")
    network_timeout_s: PositiveSeconds = Field(60, description="An association silent for so long is ended.")
    min_bytes_per_s: int = Field(4096, ge=1, description="A message that stays slower is ended, after dimse_timeout_s.")
    max_images_per_s: float = Field(0, ge=0, description="Of one calling AE title; it is slowed down. 0: any number.")
    one_cpu: bool = Field(True, description="Keep the listener's threads on one processor: it is faster so.")
    max_instance_bytes: int = Field(4 * 2**30, ge=1, description="A larger image is refused (0xA700).")
    max_study_bytes: int = Field(64 * 2**30, ge=1, description="Images beyond are refused (0xA700).")
    max_study_images: int = Field(50_000, ge=1, description="Images beyond are refused (0xA700).")
    conflicting_images: Literal["keep", "refuse"] = Field(
        "keep", description='An image sent again with other bytes: "keep" both and note it, or "refuse" (0x0111).'
    )


class SenderSettings(_Section):
    """A sender that needs its own waiting times."""

    ae_title: AeTitle = Field(description="The sender's (calling) AE title.")
    quiet_period_s: PositiveSeconds = Field(10, description="As in [assembly].")
    hard_cap_s: PositiveSeconds = Field(900, description="As in [assembly].")
    keeps_series_together: bool = Field(
        False, description="It brings each series in one association: a released one is whole, by no declared count."
    )


class AssemblySettings(_Section):
    """When a study counts as complete."""

    quiet_period_s: PositiveSeconds = Field(10, description="No new image for so long: the study is complete.")
    hard_cap_s: PositiveSeconds = Field(900, description="Started this long ago: complete, even if images still come.")
    early_start: bool = Field(True, description="Start once DWI and ADC are whole by declared counts, before the rest.")
    ask_pacs_counts: bool = Field(False, description="Where no header declares a count, ask [pacs] by C-FIND.")
    senders: tuple[SenderSettings, ...] = Field((), description="Exceptions, as [[assembly.senders]] tables.")

    def waiting_times_s(self, calling_ae: str) -> tuple[float, float]:
        """(quiet period, hard cap) for studies from this sender."""
        for sender in self.senders:
            if sender.ae_title.strip() == calling_ae.strip():
                return sender.quiet_period_s, sender.hard_cap_s
        return self.quiet_period_s, self.hard_cap_s

    def keeps_series_together(self, calling_ae: str) -> bool:
        """Whether this sender is said to bring each series in one association."""
        return any(one.keeps_series_together for one in self.senders if one.ae_title.strip() == calling_ae.strip())


class StorageSettings(_Section):
    """Where images, results and the ledger are kept."""

    data_dir: Path = Field(Path("pirtad-data"), description="Spool, results, models and the default ledger.")
    database_url: str = Field("", description="SQLAlchemy URL of the ledger; empty: SQLite in data_dir.")
    min_free_bytes: int = Field(2**30, ge=0, description="With less free in data_dir images are refused (0xA700).")

    @model_validator(mode="after")
    def _socket_path_fits(self) -> StorageSettings:
        if len(str(self.data_dir.absolute())) > _DATA_DIR_MAX:
            raise ValueError(
                f"data_dir is longer than {_DATA_DIR_MAX} characters: a Unix socket in it could not be bound"
            )
        return self

    def ledger_url(self) -> str:
        """The URL in force."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'ledger.sqlite'}"


class QueueSettings(_Section):
    """The queue between listener and workers."""

    redis_url: str = Field(EMBEDDED, description='"embedded" (started by `pirtad up`), or redis://host:6379/0.')
    lease_s: PositiveSeconds = Field(30, description="A worker that stays silent for so long is taken for dead.")
    max_attempts: int = Field(5, ge=1, description="Attempts at a stage before the study is shelved as failed.")
    stage_timeout_s: PositiveSeconds = Field(
        600, description="A stage that takes longer is ended; it counts as failed."
    )
    backoff_base_s: PositiveSeconds = Field(2, description="Wait before the second attempt; doubles from there.")
    backoff_cap_s: PositiveSeconds = Field(60, le=3600, description="Longest wait between attempts.")
    prepare_processes: int = Field(1, ge=1, description="Processes of the prepare worker (CPU).")
    infer_processes: int = Field(1, ge=1, description="Processes of the infer worker (each loads the models).")
    deliver_processes: int = Field(1, ge=1, description="Processes of the deliver worker (network).")


class InferenceSettings(_Section):
    """Encoder, case base and the b values that count as DWI."""

    weights_dir: Path | None = Field(None, description="Encoder weights; empty: the small model that ships.")
    case_base_dir: Path | None = Field(None, description="Case base; empty: the simulated one that ships.")
    device: str = Field("cpu", description='torch device: "cpu", "cuda", "cuda:1".')
    threads: int = Field(0, ge=0, description="CPU threads of a worker process; 0: torch decides.")
    similar_cases: int = Field(5, ge=1, le=5, description="Cases retrieved (k; the paper's m is 5).")
    b_value_min_s_per_mm2: float = Field(800.0, gt=0, description="Lowest b value taken as DWI.")
    b_value_max_s_per_mm2: float = Field(1500.0, gt=0, description="Highest b value taken as DWI.")

    @model_validator(mode="after")
    def _b_values_in_order(self) -> InferenceSettings:
        if self.b_value_min_s_per_mm2 > self.b_value_max_s_per_mm2:
            raise ValueError("b_value_min_s_per_mm2 is above b_value_max_s_per_mm2: no image could be chosen")
        return self


class LanguageModelSettings(_Section):
    """Who writes the sentences."""

    backend: Literal["local", "openai"] = Field("local", description='"local" (in process) or "openai" (vLLM).')
    cache_dir: Path | None = Field(None, description="Keeps the bundled model, converted once; empty: in data_dir.")
    adapter_dir: Path | None = Field(None, description="Adapter of `pirtad train lora`, for local; empty: the shipped.")
    tuned: bool = Field(True, description="Without adapter_dir: false leaves the bundled model as it came.")
    base_url: str = Field("http://127.0.0.1:8000/v1", description="OpenAI-compatible endpoint, for openai.")
    model: str = Field("", description="Model or adapter name the endpoint serves, for openai.")
    api_key: SecretStr = Field(SecretStr(""), description="Key for the endpoint, if it wants one.")
    schema_dialect: Literal["json_schema", "json_object"] = Field(
        "json_schema", description='"json_schema" (vLLM) or "json_object" (llama.cpp server).'
    )
    timeout_s: PositiveSeconds = Field(120, description="Wait for one answer.")
    max_concurrent_requests: int = Field(8, ge=1, description="Requests at a time to the endpoint, per process.")


class ReportSettings(_Section):
    """When a draft is given; where none is, the report says why and lists what was measured."""

    unknown_age: bool = Field(False, description="Draft for patients whose age no header tells.")
    minors: bool = Field(False, description="Draft for patients under 18 (the models were made for adults).")
    out_of_distribution: bool = Field(False, description="Draft for studies unlike those the models were made for.")
    least_similarity: float = Field(0.5, ge=-1, le=1, description="Cosine similarity of the best case, at least.")
    least_probability: float = Field(
        0.35, ge=0, le=1, description="Calibrated probability that the voted territory is right, at least."
    )


class PacsSettings(_Section):
    """Where reports are returned, unless [[delivery.destinations]] are named; and who is asked what it has."""

    ae_title: AeTitle = Field("ORTHANC", description="AE title of the PACS.")
    host: str = Field("127.0.0.1", description="Its address.")
    port: Port = Field(4242, description="Its port.")
    calling_ae_title: AeTitle = Field("PIRTAD", description="AE title we call with.")
    timeout_s: PositiveSeconds = Field(30, description="Wait for connection and answers.")
    measurements: bool = Field(True, description="Send the Comprehensive 3D SR too, with codes and numbers.")
    picture: bool = Field(True, description="Send a Secondary Capture of DWI and ADC with the lesion outlined.")
    commitment: CommitmentMode = Field("auto", description='Storage commitment: "off", "auto" or "required".')


class WorklistSettings(_Section):
    """The modality worklist that is asked for what the images' header does not say of the patient."""

    enabled: bool = Field(False, description="Ask it, once for each study.")
    ae_title: AeTitle = Field("WORKLIST", description="AE title of the worklist.")
    host: str = Field("127.0.0.1", description="Its address.")
    port: Port = Field(104, description="Its port.")
    calling_ae_title: AeTitle = Field("PIRTAD", description="AE title we call with.")
    timeout_s: PositiveSeconds = Field(3, description="Wait for connection and all answers together; then go on.")


class WebSettings(_Section):
    """The queue page, /api, /metrics, /healthz and /readyz."""

    host: str = Field("127.0.0.1", description="Address to listen on. The page shows reports: keep it private.")
    port: Port = Field(8042, description="TCP port of the page.")


class LogSettings(_Section):
    """Logs: to standard error, no patient data."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe level written.")
    format: Literal["console", "json"] = Field("console", description='"console" for people, "json" for collectors.')


class Settings(BaseSettings):
    """All settings, frozen."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__"
    )

    listener: ListenerSettings = ListenerSettings()
    assembly: AssemblySettings = AssemblySettings()
    priority: PrioritySettings = PrioritySettings()
    storage: StorageSettings = StorageSettings()
    retention: RetentionSettings = RetentionSettings()
    queue: QueueSettings = QueueSettings()
    inference: InferenceSettings = InferenceSettings()
    series: SeriesSettings = SeriesSettings()
    language_model: LanguageModelSettings = LanguageModelSettings()
    report: ReportSettings = ReportSettings()
    pacs: PacsSettings = PacsSettings()
    delivery: DeliverySettings = DeliverySettings()
    worklist: WorklistSettings = WorklistSettings()
    web: WebSettings = WebSettings()
    log: LogSettings = LogSettings()

    @property
    def longest_wait_s(self) -> float:
        """What any job or destination is made to wait at most: a backoff and the probe of a destination that was down
        (of each object: connection, association, answer), or the answer to a storage commitment.
        """
        timeouts_s = [one.timeout_s for one in self.delivery.destinations] or [self.pacs.timeout_s]
        probe_s = _MOST_OBJECTS * 3 * max(timeouts_s)
        return max(self.queue.backoff_cap_s + probe_s, self.delivery.commitment_timeout_s) + _SKEW_S

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file."""
        return env_settings, init_settings


def load_settings(path: Path | None) -> Settings:
    """Settings from a TOML file (None: defaults) and the environment; `SettingsError` names what can't be used."""
    text = ""
    raw: dict[str, Any] = {}
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
            raw = tomllib.loads(text)
        except OSError as error:
            raise SettingsError(f"{path}: {error.strerror}") from error
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{path}: {error}") from error
    try:
        return Settings(**raw)
    except ValidationError as error:
        raise SettingsError(
            "\n".join(_explain(path, text, raw, item["loc"], item["msg"]) for item in error.errors())
        ) from error
    except UnreadableVariable as error:
        raise SettingsError(_explain_variable(error)) from error


def _explain_variable(error: UnreadableVariable) -> str:
    """Which variable of the environment is not the JSON it has to be; its value is not told."""
    cause = error.__cause__
    if not isinstance(cause, json.JSONDecodeError):
        return f"{ENVIRONMENT_PREFIX}* (environment): {error}"
    # pydantic names the section at most; the text that was no JSON leads back to the variable.
    names = sorted(name for name, text in os.environ.items() if text == cause.doc)
    lists = [name for name in names if name.upper() in _LISTS]
    sections = [name for name in names if name.upper() in _SECTIONS]
    wanted = 'a JSON list is wanted, such as ["A", "B"]' if lists else "a JSON object is wanted"
    where = " or ".join(lists or sections) or f"{ENVIRONMENT_PREFIX}*"
    return f"{where} (environment): {wanted} ({cause.msg} at character {cause.pos + 1})"


# Variables that have to be JSON: a section as a whole, and each setting that is a list.
_SECTIONS = {
    f"{ENVIRONMENT_PREFIX}{section.upper()}": field.annotation for section, field in Settings.model_fields.items()
}
_LISTS = {
    f"{variable}__{key.upper()}"
    for variable, section in _SECTIONS.items()
    if isinstance(section, type) and issubclass(section, BaseModel)
    for key, field in section.model_fields.items()
    if get_origin(field.annotation) is tuple
}


def _explain(path: Path | None, text: str, raw: dict[str, Any], loc: tuple[int | str, ...], message: str) -> str:
    key = ".".join(str(part) for part in loc)
    message = {"Extra inputs are not permitted": "no such setting"}.get(message, message)
    message = message.removeprefix("Value error, ")
    value: Any = raw
    for part in loc:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            named = takewhile(lambda one: isinstance(one, str), loc)  # a list comes whole, as JSON
            environment = ENVIRONMENT_PREFIX + "__".join(str(one).upper() for one in named)
            return f"{environment} (environment), {key}: {message}"
    line = _line_of(text, loc)
    return f"{path}:{line}: {key}: {message}" if line else f"{path}: {key}: {message}"


def _line_of(text: str, loc: tuple[int | str, ...]) -> int:
    """Line (from 1) of a dotted key in TOML text, or of the nearest table that encloses it; 0 if not found."""
    names = [str(part) for part in loc if isinstance(part, str)]
    occurrence = next((part for part in loc if isinstance(part, int)), 0)
    section: list[str] = []
    seen_tables = -1
    best = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\[?\s*([\w.-]+)\s*\]\]?", line):
            section = header[1].split(".")
            is_ours = section == names[: len(section)]
            seen_tables += is_ours and line.lstrip().startswith("[[")
            if is_ours and (seen_tables in (-1, occurrence)):
                best = number
        elif pair := re.match(r"\s*([\w.-]+)\s*=", line):
            full = section + pair[1].split(".")
            if full == names[: len(full)] and len(full) > len(section) and seen_tables in (-1, occurrence):
                best = number
                if full == names:
                    return number
    return best
