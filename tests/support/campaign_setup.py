"""What a campaign's stack needs on disk: models, the images that are sent, and pirtad's configuration."""

from __future__ import annotations

from pathlib import Path

from pirtad.inference.models.vit import ViTConfig
from support.brain_files import write_dicom
from support.campaign_control import PACS_AE, Control
from support.campaign_studies import write_template
from support.live import MODEL_CACHE, free_port
from support.untrained import tiny_models

FULL, CONFIG = "full", "pirtad.toml"
_CONFIG = """
[listener]
port = {listener_port}
[assembly]
quiet_period_s = 1
early_start = false
[storage]
data_dir = "{directory}/data"
min_free_bytes = 0
[queue]
lease_s = 6
max_attempts = 50
backoff_base_s = 0.2
backoff_cap_s = 1
{models}
[pacs]
ae_title = "{pacs_ae}"
port = {pacs_port}
timeout_s = 5
commitment = "off"
picture = false
[log]
format = "json"
"""
TINY_MODELS = """
[inference]
weights_dir = "{directory}/models"
case_base_dir = "{directory}/models/case_base"
threads = 1
"""
_SHIPPED_MODELS = """
[language_model]
cache_dir = "{cache}"
"""


def setup(directory: Path, _control: Control, _number: int) -> int:
    """Make it; the configuration last, which says that all is there."""
    ports = {"listener_port": free_port(), "pacs_port": free_port()}
    (directory / "listener.port").write_text(str(ports["listener_port"]), encoding="ascii")
    (directory / "pacs.port").write_text(str(ports["pacs_port"]), encoding="ascii")
    if (directory / FULL).exists():
        write_dicom(directory / "template")
        models = _SHIPPED_MODELS.format(cache=MODEL_CACHE)
    else:
        tiny_models(directory / "models", ViTConfig(width=24, depth=2, mlp_width=48, cell_width=4))
        write_template(directory / "template")
        models = TINY_MODELS.format(directory=directory.absolute())
    config = _CONFIG.format(directory=directory.absolute(), pacs_ae=PACS_AE, models=models, **ports)
    part = directory / f"{CONFIG}.part"
    part.write_text(config, encoding="utf-8")
    part.replace(directory / CONFIG)
    return 0
