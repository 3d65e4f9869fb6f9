"""Relays without charts and operator: a StatefulSet with a volume for each pod's queue, and its services.

For tests of the image and of the cluster itself; and what a person would write who wants neither.
"""

from __future__ import annotations

from typing import Any

from tools.cluster.kubectl import Kubectl

SMTP = 2525
ADMIN = 9025


def start(kubectl: Kubectl, image: str, outbound: str, name: str = "relay", replicas: int = 2) -> None:
    """Start relays with this outbound.ini, and wait until all are ready."""
    kubectl.apply(*objects(image, outbound, name, replicas))
    kubectl("rollout", "status", f"statefulset/{name}", "--timeout=120s")


def objects(image: str, outbound: str, name: str, replicas: int) -> list[dict[str, Any]]:
    """ConfigMap, services and StatefulSet."""
    files = {
        "smtp.ini": f"listen=0.0.0.0:{SMTP}\n",
        "http.ini": f"listen=0.0.0.0:{ADMIN}\n",
        "relay_acl_allow": "10.0.0.0/8\nfd90::/64\n",
        "outbound.ini": outbound,
    }
    ports = [{"name": "smtp", "port": 25, "targetPort": "smtp"}, {"name": "admin", "port": ADMIN}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": ports},
    }
    headless = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"{name}-headless"},
        "spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"app": name}, "ports": ports},
    }
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": files}
    return [config, service, headless, _stateful_set(image, name, replicas)]


def _stateful_set(image: str, name: str, replicas: int) -> dict[str, Any]:
    claim = {
        "metadata": {"name": "queue"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 60,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(image)],
        "volumes": [{"name": "config", "configMap": {"name": name}}, {"name": "tmp", "emptyDir": {}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name},
        "spec": {
            "serviceName": f"{name}-headless",
            "replicas": replicas,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
            "volumeClaimTemplates": [claim],
        },
    }


def _container(image: str) -> dict[str, Any]:
    return {
        "name": "relay",
        "image": image,
        "imagePullPolicy": "Never",
        "args": ["relay", "--config", "/etc/mailboat"],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "MAILBOAT_QUEUE_DIR", "value": "/var/spool/mailboat"},
        ],
        "ports": [{"name": "smtp", "containerPort": SMTP}, {"name": "admin", "containerPort": ADMIN}],
        "startupProbe": {"httpGet": {"path": "/startupz", "port": "admin"}, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "admin"}, "periodSeconds": 1},
        "livenessProbe": {"httpGet": {"path": "/livez", "port": "admin"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/mailboat", "readOnly": True},
            {"name": "queue", "mountPath": "/var/spool/mailboat"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
