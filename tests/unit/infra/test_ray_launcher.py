"""``infra/ray/cluster.yaml`` as Ray's own launcher reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

FILE = Path(__file__).resolve().parents[3] / "infra" / "ray" / "cluster.yaml"


def cluster() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return config


def test_rays_launcher_takes_it() -> None:
    prepared = prepare_config(cluster())
    validate_config(prepared)
    assert prepared["available_node_types"]["head"]["max_workers"] == 0
    assert prepared["available_node_types"]["gpu-spot"]["min_workers"] == 0


def test_rays_launcher_refuses_a_field_that_it_does_not_know() -> None:
    config = cluster()
    config["idle_timeout_minuts"] = 5
    with pytest.raises(Exception, match="idle_timeout_minuts"):
        validate_config(prepare_config(config))


def test_every_node_starts_with_the_token_and_the_port_that_prometheus_asks() -> None:
    config = cluster()
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        start = commands[-1]
        assert "/home/ganlib/secrets/settings.env" in start
        assert "--metrics-export-port=8080" in start
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]
    assert "RAY_AUTH_MODE=token" in FILE.read_text()


def test_only_ssh_comes_in_and_training_stays_off_the_head() -> None:
    config = cluster()
    assert [rule["FromPort"] for rule in config["provider"]["security_group"]["IpPermissions"]] == [22]
    types = config["available_node_types"]
    assert types[config["head_node_type"]]["resources"] == {"CPU": 0}
    assert types["gpu-spot"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
