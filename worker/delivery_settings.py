"""Settings of delivery: where results go, how often, and when they count as delivered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

# PS3.5 table 6.2-1, VR AE: at most 16 characters, no backslash or control characters.
_AeTitle = Annotated[str, StringConstraints(max_length=16, pattern=r"^[\x20-\x5b\x5d-\x7e]*$")]
# No "@" or ":", so that it can't be mistaken for the name that [pacs] has in the ledger, AE@host:port.
_Name = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
_Port = Annotated[int, Field(ge=1, le=65535)]
_Seconds = Annotated[float, Field(gt=0)]
CommitmentMode = Literal["off", "auto", "required"]
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DestinationSettings(_Section):
    """A place that results go to, by C-STORE ("dicom") or STOW-RS ("stow")."""

    name: _Name = Field(description="Its name in ledger, status and metrics. Keep it when the address changes.")
    kind: Literal["dicom", "stow"] = Field("dicom", description='"dicom" (C-STORE) or "stow" (STOW-RS).')
    ae_title: _AeTitle = Field("", description="dicom: its AE title.")
    host: str = Field("127.0.0.1", description="dicom: its address.")
    port: _Port = Field(104, description="dicom: its port.")
    calling_ae_title: _AeTitle = Field("PIRTAD", description="dicom: AE title we call with, and commitments come to.")
    url: str = Field("", description="stow: the service's base URL, e.g. https://pacs.example/dicom-web.")
    token_file: Path | None = Field(None, description="stow: file with a bearer token, read at each request.")
    ca_file: Path | None = Field(None, description="stow: CA certificates (PEM) beside the system's.")
    timeout_s: _Seconds = Field(30, description="Wait for connection and answers.")
    commitment: CommitmentMode = Field("auto", description='Storage commitment: "off", "auto" or "required" (dicom).')
    measurements: bool = Field(True, description="Send the Comprehensive 3D SR too, with codes and numbers.")
    picture: bool = Field(True, description="Send a Secondary Capture of DWI and ADC with the lesion outlined.")

    @model_validator(mode="after")
    def _has_an_address(self) -> DestinationSettings:
        if self.kind == "dicom":
            if not self.ae_title.strip() or not self.host:
                raise ValueError("a destination of kind dicom needs ae_title, host and port")
            if self.url or self.token_file or self.ca_file:
                raise ValueError("url, token_file and ca_file are for kind stow")
            return self
        if self.commitment == "required":
            raise ValueError("STOW-RS has no storage commitment: its answer is all there is")
        address = urlsplit(self.url)
        if address.scheme not in ("http", "https") or not address.hostname or address.query or address.fragment:
            raise ValueError("url wants the service's base, such as https://pacs.example/dicom-web")
        if address.username or address.password:
            raise ValueError("url holds a user or password: give a token_file")
        if address.scheme == "http" and self.token_file and address.hostname not in _LOOPBACK:
            raise ValueError("a token would go over the network in clear text: use https")
        return self


class CommitmentPeerSettings(_Section):
    """A sender that asks us for storage commitment, and where its answers go if the association is gone."""

    ae_title: _AeTitle = Field(description="The sender's AE title, as it calls us.")
    host: str = Field(description="Where it takes N-EVENT-REPORT.")
    port: _Port = Field(description="Its port.")


class DeliverySettings(_Section):
    """How results are delivered. Without destinations here, [pacs] is the only one."""

    breaker_failures: int = Field(
        3, ge=1, description="After so many in a row a destination is tried once per backoff, not once per study."
    )
    commitment_timeout_s: _Seconds = Field(60, description="No answer to a storage commitment for so long: ask again.")
    commitment_attempts: int = Field(3, ge=1, description="Commitments asked for, and rounds of sending again.")
    destinations: tuple[DestinationSettings, ...] = Field(
        (), description="Where results go, as [[delivery.destinations]] tables; they take the place of [pacs]."
    )
    commitment_peers: tuple[CommitmentPeerSettings, ...] = Field(
        (), description="Senders that ask us for storage commitment, as [[delivery.commitment_peers]] tables."
    )

    @model_validator(mode="after")
    def _names_differ(self) -> DeliverySettings:
        names = [one.name for one in self.destinations]
        if len(set(names)) != len(names):
            raise ValueError("two destinations have the same name")
        return self
