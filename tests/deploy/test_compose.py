"""config/compose.yaml and config/vector.yaml, as far as they can be judged without either program."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest

from crawler import cli, config
from crawler.config import Config
from tests.deploy.shipped import CONFIG, read_yaml

ROOT = CONFIG.parent
# What the Compose specification allows in a service, as far as this file uses it.
SERVICE_KEYS = {
    *("build", "cap_drop", "command", "depends_on", "healthcheck", "image", "logging", "mem_limit"),
    *("network_mode", "pids_limit", "ports", "profiles", "read_only", "restart", "security_opt"),
    *("stop_grace_period", "tmpfs", "ulimits", "user", "volumes"),
}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services of the compose file."""
    services: dict[str, Any] = read_yaml("compose.yaml")["services"]
    return services


def test_only_known_keys(services: dict[str, Any]) -> None:
    """No service has a key that is misspelt, and every named volume is declared."""
    declared = read_yaml("compose.yaml")["volumes"]
    for service in services.values():
        assert service.keys() <= SERVICE_KEYS
        named = [volume.split(":")[0] for volume in service["volumes"]]
        assert {name for name in named if not name.startswith(".")} <= declared.keys()


def test_what_is_mounted_is_there(services: dict[str, Any]) -> None:
    """Every file of this directory that a service mounts exists, and is read-only there."""
    for service in services.values():
        for volume in service["volumes"]:
            source, _, rest = volume.partition(":")
            if source.startswith("."):
                assert (CONFIG / source).is_file(), volume
                assert rest.endswith(":ro"), volume


def test_the_crawler_has_no_rights(services: dict[str, Any]) -> None:
    """Read-only root, no capability, no way to gain one, a numeric user; memory, processes, log bounded."""
    crawler = services["crawler"]

    assert crawler["read_only"] is True
    assert crawler["cap_drop"] == ["ALL"]
    assert crawler["security_opt"] == ["no-new-privileges:true"]
    assert re.search(rf"(?m)^USER {crawler['user']}$", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert crawler["mem_limit"]
    assert crawler["pids_limit"] < 100
    assert crawler["logging"]["options"].keys() == {"max-size", "max-file"}
    assert "cap_add" not in crawler
    assert "privileged" not in crawler


def test_only_the_dht_is_open_to_all(services: dict[str, Any]) -> None:
    """All that is published beyond this machine is the DHT's UDP port; HTTP stays inside the container."""
    public = [port for port in services["crawler"]["ports"] if not port.startswith("127.0.0.1:")]
    assert public == ["6881:6881/udp"]
    assert services["crawler"]["command"][-1].startswith("127.0.0.1:")
    for watcher in ("prometheus", "grafana"):
        assert services[watcher]["profiles"] == ["watch"]
        assert services[watcher]["network_mode"] == "service:crawler"
        assert "ports" not in services[watcher]


def test_it_has_time_to_end(services: dict[str, Any]) -> None:
    """The container is given longer to end than the daemon takes at the most."""
    assert int(services["crawler"]["stop_grace_period"].removesuffix("s")) > Config().run.drain_timeout + 5


def test_the_daemon_accepts_its_arguments(
    services: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The daemon has every flag of the container's command line, and the command of its health check."""
    arguments = [
        str(CONFIG / "home.toml") if a.endswith(".toml") else a for a in services["crawler"]["command"]
    ]
    assert cli.main(["--help"]) == 0
    known = capsys.readouterr().out
    assert [flag for flag in arguments if flag.startswith("--") and flag not in known] == []
    assert services["crawler"]["healthcheck"]["test"] == ["CMD", "dht-crawler", "health"]


def test_output_and_state_are_in_the_volume(services: dict[str, Any]) -> None:
    """With the image's environment and this file's settings, all that is written lands in the volume."""
    assert "crawl:/data" in services["crawler"]["volumes"]
    dockerfile = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    words = shlex.split(" ".join(re.findall(r"(?m)^ENV (.+)$", dockerfile)))
    environ = dict(word.split("=", 1) for word in words if word.startswith("DHT_CRAWLER_"))
    loaded = config.load(CONFIG / "home.toml", environ, {})

    assert all(path.startswith("/data/") for path in loaded.output.path)
    assert loaded.state.directory.startswith("/data/")
