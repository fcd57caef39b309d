"""The compose file: its structure, and what its parts say of each other and of pirtad."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from pirtad.inference.training.configuration import named_settings
from pirtad.inference.training.lora.configuration import configure_tuning
from pirtad.worker.contract import Stage
from pirtad.worker.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = ROOT / "deploy" / "compose.yaml"
PLACES = {name: Path(name) for name in ("cache", "run", "out", "weights", "case_base", "models")}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def resolved(node: Any, environment: dict[str, str]) -> Any:
    """The tree with ${NAME:-default} and ${NAME:?message} put in, as Compose does after parsing."""

    def value(match: re.Match[str]) -> str:
        given = environment.get(match[1], "")
        if not given and match[2] == "?":
            raise ValueError(f"{match[1]}: {match[3]}")
        return given or match[3]

    if isinstance(node, dict):
        return {key: resolved(child, environment) for key, child in node.items()}
    if isinstance(node, list):
        return [resolved(child, environment) for child in node]
    return re.sub(r"\$\{(\w+):([-?])([^}]*)\}", value, node) if isinstance(node, str) else node


def compose(**environment: str) -> dict[str, Any]:
    tree = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return resolved(tree, {"PIRTAD_PACS__HOST": "pacs.example", **environment})


SERVICES = sorted(compose()["services"])
OURS = ["deliver", "infer", "infer-gpu", "listener", "prepare", "web"]


def service(name: str, **environment: str) -> dict[str, Any]:
    return compose(**environment)["services"][name]


def settings_of(name: str, monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    """The settings that a service's process would see."""
    for variable, value in service(name, **environment)["environment"].items():
        monkeypatch.setenv(variable, value)
    return load_settings(None)


def test_a_parser_of_the_specification_takes_it():
    compose_spec = pytest.importorskip("compose_spec")
    tree = compose()
    tree["services"]["infer"]["scale"] = int(tree["services"]["infer"]["scale"])
    parsed = compose_spec.PyOptions().from_yaml(yaml.safe_dump(tree))
    parsed.validate()
    assert sorted(parsed.services) == SERVICES


def test_the_pacs_must_be_named():
    with pytest.raises(ValueError, match="PIRTAD_PACS__HOST"):
        compose(PIRTAD_PACS__HOST="")


def test_without_a_profile_every_stage_has_a_worker():
    tree = compose()
    plain = {name: body for name, body in tree["services"].items() if "profiles" not in body}
    queues = [body["command"][2] for body in plain.values() if body.get("command", [])[:2] == ["worker", "--queue"]]
    assert sorted(queues) == sorted(Stage)
    assert {"listener", "web", "redis"} <= set(plain)
    assert {name for name in tree["services"] if name not in plain} == {"infer-gpu", "vllm", "postgres"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_has_a_tag_that_does_not_move(name):
    image, _, tag = service(name)["image"].rpartition(":")
    assert image
    assert re.search(r"\d", tag), tag


def test_our_images_carry_our_version_and_vllm_the_one_tried():
    for name in OURS:
        assert service(name)["image"].endswith(f":{PYPROJECT['project']['version']}")
    (vllm,) = PYPROJECT["project"]["optional-dependencies"]["vllm"]
    assert service("vllm")["image"] == f"vllm/vllm-openai:v{vllm.removeprefix('vllm==')}"


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_names_is_declared(name):
    tree = compose()
    body = tree["services"][name]
    for volume in body["volumes"]:
        if isinstance(volume, str):
            assert volume.partition(":")[0] in tree["volumes"]
        else:
            assert volume["type"] == "bind"
            assert volume["read_only"] is True
    assert set(body["networks"]) <= set(tree["networks"])
    for other, condition in body.get("depends_on", {}).items():
        needed = tree["services"][other]
        assert condition["condition"] != "service_healthy" or "healthcheck" in needed
        # Depending on what a profile leaves out is an error unless it is said that it may be absent.
        assert "profiles" not in needed or condition["required"] is False


def test_every_volume_declared_is_used():
    tree = compose()
    used = {v.partition(":")[0] for b in tree["services"].values() for v in b["volumes"] if isinstance(v, str)}
    assert used == set(tree["volumes"])


@pytest.mark.parametrize("name", OURS)
def test_builds_name_files_and_arguments_that_exist(name):
    build = service(name)["build"]
    context = (COMPOSE.parent / build["context"]).resolve()
    assert context == ROOT
    dockerfile = context / build["dockerfile"]
    declared = re.findall(r"^ARG (\w+)", dockerfile.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(build.get("args", {})) <= set(declared)
    if "REQUIREMENTS" in build.get("args", {}):
        assert (context / build["args"]["REQUIREMENTS"]).is_file()


@pytest.mark.parametrize("name", SERVICES)
def test_services_have_no_more_rights_than_they_need(name):
    body = service(name)
    assert "privileged" not in body
    assert "network_mode" not in body
    assert "no-new-privileges:true" in body["security_opt"]
    assert body["restart"] == "unless-stopped"
    assert body["stop_grace_period"] if name in {"redis", "postgres", "vllm", *OURS} else True
    if name in OURS:
        assert body["read_only"] is True
        assert body["cap_drop"] == ["ALL"]


def test_published_ports_are_the_defaults_and_the_page_stays_on_this_host():
    defaults = Settings()
    published = {name: service(name)["ports"] for name in SERVICES if "ports" in service(name)}
    assert published == {
        "listener": [f"0.0.0.0:{defaults.listener.port}:{defaults.listener.port}"],
        "web": [f"127.0.0.1:{defaults.web.port}:{defaults.web.port}"],
    }
    assert service("listener", LISTENER_ADDRESS="192.0.2.1")["ports"] == ["192.0.2.1:11112:11112"]


def test_only_what_talks_to_others_reaches_the_outside():
    tree = compose()
    assert tree["networks"]["inside"] == {"internal": True}
    assert {name for name in SERVICES if "outside" in tree["services"][name]["networks"]} == {
        "listener", "deliver", "web",
    }  # fmt: skip


@pytest.mark.parametrize("name", OURS)
def test_every_service_gets_settings_it_can_use(name, monkeypatch):
    settings = settings_of(name, monkeypatch)
    assert str(settings.storage.data_dir) == "/var/lib/pirtad"
    assert any(volume.endswith(":/var/lib/pirtad") for volume in service(name)["volumes"])
    assert settings.queue.redis_url == "redis://redis:6379/0"
    assert settings.pacs.host == "pacs.example"


def test_services_listen_where_a_published_port_can_reach_them(monkeypatch):
    assert settings_of("listener", monkeypatch).listener.host == "0.0.0.0"
    assert settings_of("web", monkeypatch).web.host == "0.0.0.0"


def test_with_vllm_the_language_model_is_asked_at_its_service(monkeypatch):
    chosen = {"PIRTAD_LANGUAGE_MODEL__BACKEND": "openai", "PIRTAD_LANGUAGE_MODEL__API_KEY": "secret"}
    model = settings_of("infer-gpu", monkeypatch, **chosen).language_model
    vllm = service("vllm", **chosen)
    words = vllm["command"].split()
    assert model.base_url == f"http://vllm:{words[words.index('--port') + 1]}/v1"
    assert model.model == words[words.index("--served-model-name") + 1]
    assert model.api_key.get_secret_value() == vllm["environment"]["VLLM_API_KEY"] == "secret"
    assert words[0].startswith(vllm["volumes"][0]["target"] + "/")


def after(option: str, words: list[str]) -> str:
    return words[words.index(option) + 1]


def test_vllm_serves_base_and_adapter_and_a_name_chooses_between_them(monkeypatch):
    words = service("vllm")["command"].split()
    models = service("vllm")["volumes"][0]["target"]
    # Given the command as it comes: base and adapter are both in the models' folder
    assert words[0] == f"{models}/base"
    name, _, directory = after("--lora-modules", words).partition("=")
    assert directory.startswith(f"{models}/")
    assert "--enable-lora" in words
    assert name != after("--served-model-name", words)
    # Then an adapter of either published tuning fits, and its name is a setting's value
    for recipe in ("lora_small", "lora_paper"):
        assert configure_tuning(named_settings(recipe), PLACES).rank <= int(after("--max-lora-rank", words))
    chosen = {"PIRTAD_LANGUAGE_MODEL__BACKEND": "openai", "PIRTAD_LANGUAGE_MODEL__MODEL": name}
    assert settings_of("infer", monkeypatch, **chosen).language_model.model == name


def test_vllm_without_an_adapter_and_with_more_arguments():
    words = service("vllm", VLLM_ADAPTER_ARGUMENTS="--no-enable-lora", VLLM_ARGUMENTS="--gpu-memory-utilization 0.6")[
        "command"
    ].split()
    assert "--no-enable-lora" in words
    assert not {"--enable-lora", "--lora-modules"} & set(words)
    assert words[-2:] == ["--gpu-memory-utilization", "0.6"]


def test_vllm_answers_as_the_local_model_would():
    # Compact JSON by the same grammar, and nothing of a model's own sampling: what tests/live/test_live_vllm.py tries.
    words = service("vllm")["command"].split()
    tried = (ROOT / "tests" / "support" / "vllm_server.py").read_text(encoding="utf-8")
    for option in (
        "--generation-config",
        "--structured-outputs-config.backend",
        "--structured-outputs-config.disable_any_whitespace",
    ):
        assert f'("{option}", "{after(option, words)}")' in tried, option


def test_vllm_is_healthy_once_it_answers_and_no_port_of_it_is_published():
    body = service("vllm")
    assert f":{after('--port', body['command'].split())}/health" in body["healthcheck"]["test"][-1]
    assert "ports" not in body
    assert body["networks"] == ["inside"]


def test_gpu_services_reserve_a_gpu(monkeypatch):
    for name in ("infer-gpu", "vllm"):
        (device,) = service(name)["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]
    assert settings_of("infer-gpu", monkeypatch).inference.device == "cuda"


def test_the_example_environment_names_what_the_compose_file_reads(monkeypatch):
    lines = (COMPOSE.parent / "env.example").read_text(encoding="utf-8").splitlines()
    given = dict(re.findall(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", "\n".join(lines), re.MULTILINE))
    read = set(re.findall(r"\$\{(\w+):", COMPOSE.read_text(encoding="utf-8")))
    assert set(given) - read == {"COMPOSE_PROFILES"}
    assert set(given["COMPOSE_PROFILES"].split(",")) <= {"gpu", "vllm", "postgres"}

    # Given everything in it, the commented lines too, the settings are usable and as written.
    settings = settings_of("listener", monkeypatch, **given)
    assert settings.listener.allowed_calling_ae_titles == ("PACS",)
    assert settings.storage.database_url.startswith("postgresql+psycopg://")
    assert service("infer", **given)["scale"] == "0"


def test_nothing_that_may_hold_passwords_is_committed():
    assert ".env" in (COMPOSE.parent / ".gitignore").read_text(encoding="utf-8").splitlines()
