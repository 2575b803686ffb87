"""Every field of ``infra/kubernetes`` is one that Kubernetes knows, by the package kubernetes-validate.

KubeRay's own kind is in no package. Its fields are listed here as far as the manifests use them, from the API
reference of KubeRay 1.6 (ray.io/v1, RayCluster); what is not listed is refused.
"""

from __future__ import annotations

import copy
from typing import Any

import kubernetes_validate
import pytest
from jsonschema import Draft202012Validator
from kubernetes_validate import ValidationError
from test_kubernetes import OBJECTS, Object, of_kind, ray_cluster

VERSION = "1.29"
"""The oldest one that docs/kubernetes.md names."""

ANY: dict[str, Any] = {}
COUNT = {"type": "integer", "minimum": 0}
STRING = {"type": "string", "minLength": 1}


def record(required: list[str], **fields: Any) -> dict[str, Any]:
    """A schema of an object with these fields and no others."""
    return {
        "type": "object",
        "properties": fields,
        "required": required,
        "additionalProperties": False,
    }


PARAMETERS = {"type": "object", "additionalProperties": {"type": "string"}}
RAY_CLUSTER = record(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayCluster"},
    metadata=record(["name"], name=STRING, namespace=STRING, labels=PARAMETERS),
    spec=record(
        ["rayVersion", "headGroupSpec", "workerGroupSpecs"],
        rayVersion=STRING,
        enableInTreeAutoscaling={"type": "boolean"},
        autoscalerOptions=record(
            [],
            version={"enum": ["v1", "v2"]},
            upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
            idleTimeoutSeconds=COUNT,
            resources=ANY,
            securityContext=ANY,
            volumeMounts=ANY,
        ),
        authOptions=record(["mode"], mode={"enum": ["disabled", "token"]}, secretName=STRING),
        headGroupSpec=record(
            ["rayStartParams", "template"],
            serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
            rayStartParams=PARAMETERS,
            template=ANY,
        ),
        workerGroupSpecs={
            "type": "array",
            "items": record(
                ["groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"],
                groupName=STRING,
                replicas=COUNT,
                minReplicas=COUNT,
                maxReplicas=COUNT,
                rayStartParams=PARAMETERS,
                template=ANY,
            ),
        },
    ),
)


def kubernetes_accepts(found: Object) -> None:
    kubernetes_validate.validate(found, VERSION, strict=True)


OWN = [found for found in OBJECTS if found["kind"] != "RayCluster"]


@pytest.mark.parametrize("found", OWN, ids=lambda found: f"{found['kind']}-{found['metadata']['name']}")
def test_kubernetes_knows_every_field(found: Object) -> None:
    kubernetes_accepts(found)


def pods_of_ray() -> list[Object]:
    """The pods of Ray's cluster and the autoscaler's container, as Kubernetes' own kind."""
    spec = copy.deepcopy(ray_cluster()["spec"])
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    templates = [group["template"] for group in groups]
    options = spec["autoscalerOptions"]
    beside = {name: options[name] for name in ("resources", "securityContext", "volumeMounts")}
    templates[0]["spec"]["containers"].append({"name": "autoscaler", "image": "any", **beside})
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"ray-{number}"}, "spec": template["spec"]}
        for number, template in enumerate(templates)
    ]


@pytest.mark.parametrize("pod", pods_of_ray(), ids=lambda pod: pod["metadata"]["name"])
def test_kubernetes_knows_every_field_of_rays_pods(pod: Object) -> None:
    kubernetes_accepts(pod)


def complaints(cluster: Object) -> list[str]:
    errors = Draft202012Validator(RAY_CLUSTER).iter_errors(cluster)
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in errors]


def test_kuberay_knows_every_field() -> None:
    assert complaints(ray_cluster()) == []


def test_a_misspelt_field_is_found() -> None:
    cluster = copy.deepcopy(ray_cluster())
    options = cluster["spec"]["autoscalerOptions"]
    options["idleTimeoutSecond"] = options.pop("idleTimeoutSeconds")
    assert "idleTimeoutSecond" in complaints(cluster)[0]
    deployment = copy.deepcopy(of_kind("Deployment")[0])
    deployment["spec"]["replica"] = 2
    with pytest.raises(ValidationError):
        kubernetes_accepts(deployment)
