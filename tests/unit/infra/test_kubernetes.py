"""``infra/kubernetes`` without a cluster: what each pod is given, may do, and may talk to.

With ``KUBERNETES_OPENAPI=FILE`` every field is checked against a cluster's own description of its types,
which `kubectl get --raw /openapi/v2` prints (KubeRay's are in it where its operator is installed).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from jsonschema import Draft202012Validator
from kustomize import NotUnderstood, Object, add, build

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "infra" / "kubernetes"
OVERLAY = FOLDER / "overlays" / "gpu-spot"
FOLDERS = [FOLDER / "base", OVERLAY]
PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
OBJECTS = build(OVERLAY)
"""Those of the base are among them."""


class Pod(NamedTuple):
    """A pod as some owner makes it."""

    name: str
    labels: dict[str, str]
    spec: dict[str, Any]

    @property
    def container(self) -> dict[str, Any]:
        [container] = self.spec["containers"]
        return container


def of_kind(kind: str) -> list[Object]:
    return [found for found in OBJECTS if found["kind"] == kind]


def ray_cluster() -> Object:
    [cluster] = of_kind("RayCluster")
    return cluster


def pods() -> Iterator[Pod]:
    for found in of_kind("Deployment"):
        template = found["spec"]["template"]
        assert template["metadata"]["labels"].items() >= found["spec"]["selector"]["matchLabels"].items()
        yield Pod(found["metadata"]["name"], template["metadata"]["labels"], template["spec"])
    cluster = ray_cluster()
    # The operator's own labels.
    labels = {"ray.io/cluster": cluster["metadata"]["name"], "app.kubernetes.io/name": "kuberay"}
    head = cluster["spec"]["headGroupSpec"]["template"]["spec"]
    yield Pod("head", {**labels, "ray.io/node-type": "head"}, head)
    for group in cluster["spec"]["workerGroupSpecs"]:
        spec = group["template"]["spec"]
        yield Pod(group["groupName"], {**labels, "ray.io/node-type": "worker"}, spec)


PODS = {pod.name: pod for pod in pods()}
every_pod = pytest.mark.parametrize("pod", PODS.values(), ids=list(PODS))


def test_there_are_the_pods_that_the_pages_tell_of() -> None:
    assert list(PODS) == ["mlflow", "prefect", "prefect-worker", "head", "cpu", "gpu-spot"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_kubectl_builds_the_same_objects(folder: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: the objects are those of kustomize.py alone")
    words = ["kubectl", "kustomize", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr

    def sorted_(objects: list[Object]) -> list[Object]:
        return sorted(objects, key=lambda found: (found["kind"], found["metadata"]["name"]))

    assert sorted_(list(yaml.safe_load_all(done.stdout))) == sorted_(build(folder))


def test_what_the_loader_does_not_know_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("namePrefix: x-\n")
    with pytest.raises(NotUnderstood, match="namePrefix"):
        build(tmp_path)
    with pytest.raises(NotUnderstood, match="replace"):
        add({"a": 1}, {"op": "replace", "path": "/a", "value": 2})


@every_pod
def test_a_pod_has_no_more_rights_than_it_needs(pod: Pod) -> None:
    security = pod.spec["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == security["runAsGroup"] == security["fsGroup"] == 10001
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod.container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    # Only the autoscaler beside Ray's head speaks to Kubernetes, and its token is mounted there alone.
    assert pod.spec["automountServiceAccountToken"] is False
    assert pod.spec["enableServiceLinks"] is False
    writable = {mount["mountPath"] for mount in pod.container["volumeMounts"] if not mount.get("readOnly")}
    assert {"/tmp", "/home/ganlib"} <= writable


@every_pod
def test_a_pod_has_resources_and_probes(pod: Pod) -> None:
    resources = pod.container["resources"]
    assert {"cpu", "memory"} <= set(resources["requests"])
    assert "memory" in resources["limits"]
    assert pod.container["image"] == "ganlib:local"
    assert "httpGet" in pod.container["livenessProbe"]
    ports = {port["name"]: port["containerPort"] for port in pod.container["ports"]}
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        port = pod.container.get(kind, {}).get("httpGet", {}).get("port", 52365)
        assert isinstance(port, int) or port in ports, kind


@every_pod
def test_volumes_are_mounted_and_bounded(pod: Pod) -> None:
    mounts = {mount["name"] for mount in pod.container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
    assert mounts == set(volumes) - {"autoscaler-token"}
    if pod.name == "head":
        cluster = next(found for found in of_kind("RayCluster"))
        beside = cluster["spec"]["autoscalerOptions"]["volumeMounts"]
        assert [mount["name"] for mount in beside] == ["autoscaler-token"]
    claims = {found["metadata"]["name"] for found in of_kind("PersistentVolumeClaim")}
    for volume in volumes.values():
        if "emptyDir" in volume:
            assert volume["emptyDir"]["sizeLimit"], volume["name"]
        if "persistentVolumeClaim" in volume:
            assert volume["persistentVolumeClaim"]["claimName"] in claims


def secret_keys(node: Any) -> Iterator[tuple[str, str]]:
    """Every Secret and key that a pod's specification names."""
    if isinstance(node, list):
        for item in node:
            yield from secret_keys(item)
    elif isinstance(node, dict):
        if reference := node.get("secretKeyRef"):
            yield reference["name"], reference["key"]
        if secret := node.get("secret"):
            name = secret.get("secretName") or secret["name"]
            keys = [item["key"] for item in secret.get("items", [])]
            yield from ((name, key) for key in keys or ["auth"])
        for value in node.values():
            yield from secret_keys(value)


def test_secrets_are_made_by_the_commands_of_the_page_and_by_nothing_here() -> None:
    assert of_kind("Secret") == []
    made = {
        (name, key)
        for name, arguments in re.findall(
            r"kubectl create secret generic (\S+) --namespace ganlib((?: \\\n|[^\n\\])*)", PAGE
        )
        for key in re.findall(r"--from-(?:literal|file)=([a-z_-]+)=", arguments)
    }
    options = ray_cluster()["spec"]["authOptions"]
    named = {pair for pod in PODS.values() for pair in secret_keys(pod.spec)}
    assert named | {(options["secretName"], "auth_token")} == made


@every_pod
def test_settings_exist_and_secrets_are_files_where_ganlib_reads_them(pod: Pod) -> None:
    maps = {found["metadata"]["name"]: found["data"] for found in of_kind("ConfigMap")}
    values = {item["name"]: item.get("value", "") for item in pod.container.get("env", [])}
    for item in pod.container.get("env", []):
        if reference := item.get("valueFrom", {}).get("configMapKeyRef"):
            assert reference["key"] in maps[reference["name"]]
    for source in pod.container.get("envFrom", []):
        values |= maps[source["configMapRef"]["name"]]
    mounted = {
        f"{mount['mountPath']}/{item['path']}"
        for mount in pod.container["volumeMounts"]
        for volume in pod.spec["volumes"]
        if volume["name"] == mount["name"]
        for source in volume.get("projected", {}).get("sources", [])
        for item in source["secret"]["items"]
    } | {"/run/secrets/prefect/auth"}
    files = {name: value for name, value in values.items() if name.endswith("_FILE")}
    assert set(files.values()) <= mounted
    assert not [name for name in values if re.fullmatch(r"GANLIB_\w*(KEY|KEY_ID|PASSWORD|TOKEN|AUTH)", name)]


def test_rays_cluster_asks_for_a_token_scales_and_has_the_locked_version() -> None:
    spec = ray_cluster()["spec"]
    locked = re.search(r"^ray(?:\[[^]]*])?==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked
    assert spec["rayVersion"] == locked[1]
    assert spec["authOptions"] == {"mode": "token", "secretName": "ganlib-ray"}
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["version"] == "v2"
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for name in ("head", "cpu", "gpu-spot"):
        assert PODS[name].spec["restartPolicy"] == "Never", "which version 2 of the autoscaler needs"


def test_gpus_start_from_zero_on_spot_nodes_and_nothing_else_goes_there() -> None:
    [base] = [found for found in build(FOLDER / "base") if found["kind"] == "RayCluster"]
    assert [group["groupName"] for group in base["spec"]["workerGroupSpecs"]] == ["cpu"]
    [gpu] = [g for g in ray_cluster()["spec"]["workerGroupSpecs"] if g["groupName"] == "gpu-spot"]
    assert (gpu["replicas"], gpu["minReplicas"]) == (0, 0)
    assert gpu["maxReplicas"] > 0
    pod = PODS["gpu-spot"]
    assert pod.container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert pod.spec["nodeSelector"] == {"ganlib/node-pool": "gpu-spot"}
    assert {toleration["key"] for toleration in pod.spec["tolerations"]} == {"ganlib/spot", "nvidia.com/gpu"}
    assert [name for name, other in PODS.items() if "tolerations" in other.spec] == ["gpu-spot"]


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a label selector takes these labels."""
    for name, value in selector.get("matchLabels", {}).items():
        if labels.get(name) != value:
            return False
    for expression in selector.get("matchExpressions", []):
        inside = labels.get(expression["key"]) in expression["values"]
        if inside is not {"In": True, "NotIn": False}[expression["operator"]]:
            return False
    return True


Peer = dict[str, str]
"""Labels of a pod, or the name of its namespace as ``namespace``; ``{}``: an address outside."""


def lets(direction: str, pod: Pod, peer: Peer, port: int) -> bool:
    """Whether the policies let a pod take (``Ingress``) or begin (``Egress``) a connection over TCP."""
    side = {"Ingress": "from", "Egress": "to"}[direction]
    for policy in of_kind("NetworkPolicy"):
        spec = policy["spec"]
        if not selects(spec["podSelector"], pod.labels) or direction not in spec["policyTypes"]:
            continue
        for rule in spec.get(direction.lower(), []):
            ports = [item["port"] for item in rule.get("ports", []) if item["protocol"] == "TCP"]
            if "ports" in rule and port not in ports:
                continue
            if side not in rule or any(is_peer(item, peer) for item in rule[side]):
                return True
    return False


def is_peer(item: dict[str, Any], peer: Peer) -> bool:
    if "namespaceSelector" in item:
        return selects(item["namespaceSelector"], {"kubernetes.io/metadata.name": peer.get("namespace", "")})
    return "namespace" not in peer and bool(peer) and selects(item["podSelector"], peer)


def reaches(source: str, target: str, port: int) -> bool:
    sender, receiver = PODS[source], PODS[target]
    return lets("Egress", sender, receiver.labels, port) and lets("Ingress", receiver, sender.labels, port)


def test_each_service_is_reached_by_those_who_need_it_and_by_nobody_else() -> None:
    services = {"mlflow": 5000, "prefect": 4200, "head": 8265}
    found = {
        target: {source for source in PODS if source != target and reaches(source, target, port)}
        for target, port in services.items()
    }
    assert found == {
        "mlflow": {"prefect-worker", "head", "cpu", "gpu-spot"},
        "prefect": {"prefect-worker"},
        "head": {"prefect-worker", "cpu", "gpu-spot"},
    }
    assert {source for source in PODS if source != "head" and reaches(source, "head", 6379)} == {
        "cpu", "gpu-spot",
    }  # fmt: skip
    assert not any(reaches(source, "prefect-worker", 8080) for source in PODS)


def test_only_prometheus_looks_in_from_another_namespace() -> None:
    for namespace, expected in (("monitoring", {"head", "cpu", "gpu-spot"}), ("default", set())):
        peer = {"namespace": namespace}
        assert {name for name, pod in PODS.items() if lets("Ingress", pod, peer, 8080)} == expected
    outside: Peer = {}
    assert not any(
        lets("Ingress", pod, outside, port) for pod in PODS.values() for port in (8265, 6379, 10001)
    )


def test_what_leaves_the_cluster_is_the_object_store_the_database_and_kubernetes() -> None:
    outside: Peer = {}

    def leave(port: int) -> set[str]:
        return {name for name, pod in PODS.items() if lets("Egress", pod, outside, port)}

    assert leave(443) == set(PODS) - {"prefect"}
    assert leave(5432) == {"mlflow", "prefect"}
    assert leave(6443) == {"head"}
    assert leave(80) == leave(22) == set()
    assert {
        name for name, pod in PODS.items() if lets("Egress", pod, {"namespace": "kube-system"}, 53)
    } == set(PODS)


def test_budgets_and_services_select_pods() -> None:
    for found in of_kind("PodDisruptionBudget"):
        assert [pod.name for pod in PODS.values() if selects(found["spec"]["selector"], pod.labels)] == [
            found["metadata"]["name"].removeprefix("ray-")
        ]
    for found in of_kind("Service"):
        if found["spec"].get("type") != "ExternalName":
            taken = [
                p for p in PODS.values() if selects({"matchLabels": found["spec"]["selector"]}, p.labels)
            ]
            assert taken, found["metadata"]["name"]
            names = {port["name"] for pod in taken for port in pod.container["ports"]}
            assert {port["name"] for port in found["spec"]["ports"]} <= names


def closed(schema: Any) -> Any:
    """A schema of Kubernetes that takes no field that it does not name, and knows its two own types."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        return {"type": ["integer", "string"]}
    made = {name: closed(value) for name, value in schema.items()}
    open_ = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if schema.get("type") == "object" and isinstance(schema.get("properties"), dict) and not open_:
        made["additionalProperties"] = False
    return made


def test_every_field_is_one_that_kubernetes_and_kuberay_know() -> None:
    path = os.environ.get("KUBERNETES_OPENAPI")
    if path is None:
        pytest.skip("KUBERNETES_OPENAPI names no file: `kubectl get --raw /openapi/v2 > FILE` makes it")
    definitions = json.loads(Path(path).read_text())["definitions"]
    names = {
        (f"{kind['group']}/{kind['version']}".lstrip("/"), kind["kind"]): name
        for name, definition in definitions.items()
        for kind in definition.get("x-kubernetes-group-version-kind", [])
    }
    known = closed(definitions)
    known["io.k8s.apimachinery.pkg.api.resource.Quantity"] = {"type": ["string", "number"]}
    complaints = []
    for found in OBJECTS:
        reference = f"#/definitions/{names[found['apiVersion'], found['kind']]}"
        for error in Draft202012Validator({"$ref": reference, "definitions": known}).iter_errors(found):
            place = "/".join(map(str, error.absolute_path))
            complaints.append(f"{found['kind']} {found['metadata']['name']} {place}: {error.message}")
    assert complaints == []
