"""The files of containers: what can be checked without a registry or a cluster."""

from __future__ import annotations

import fnmatch
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.packaging.test_wheel import SOURCES
from tests.support.program import ROOT

MANIFESTS = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
USER = 10001


def run_tool(name: str, *arguments: str) -> None:
    """Run a program of this environment or of the system; skip the test if it is missing."""
    program = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if program is None:
        pytest.skip(f"no {name} here")
    done = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_keeps_the_rules() -> None:
    run_tool("hadolint", "Dockerfile")


def test_the_build_gets_what_a_wheel_takes_and_nothing_else() -> None:
    """Images, collections and environments beside the sources are not sent to the builder."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[0] == "*"
    kept = [line[1:] for line in lines if line.startswith("!")]
    needed = {*SOURCES, "constraints.txt", "pipelines", "app"}
    assert all(any(fnmatch.fnmatch(name, pattern) for pattern in kept) for name in needed)
    assert all(any(fnmatch.fnmatch(name, pattern) for name in needed) for pattern in kept)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: str(path.name))
def test_manifests_follow_the_schemas_of_kubernetes(manifest: Path) -> None:
    run_tool("kubernetes-validate", "--strict", str(manifest))


def manifests() -> dict[str, dict[str, Any]]:
    """Return the specs of the manifests, by kind."""
    documents = [document for path in MANIFESTS for document in yaml.safe_load_all(path.read_text())]
    return {document["kind"]: document["spec"] for document in documents}


def pod_of(kind: str) -> dict[str, Any]:
    template: dict[str, Any] = manifests()[kind]["template"]["spec"]
    return template


def test_the_page_is_probed_and_the_index_is_made_in_as_many_parts_as_its_command_says() -> None:
    (page,) = pod_of("Deployment")["containers"]
    probes = {name: page[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert [probe["path"] for probe in probes.values()] == ["/healthz", "/healthz", "/readyz"]
    assert {probe["port"] for probe in probes.values()} == {page["ports"][0]["name"]}
    job, (insert,) = manifests()["Job"], pod_of("Job")["containers"]
    assert job["completionMode"] == "Indexed"
    assert f'/{job["completions"]}"' in insert["args"][0]


def test_pods_run_without_rights_and_mount_what_they_write() -> None:
    for pod in (pod_of("Deployment"), pod_of("Job")):
        assert pod["securityContext"]["runAsUser"] == USER
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert {"requests", "limits"} == container["resources"].keys()
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounted.keys() == {volume["name"] for volume in pod["volumes"]}
        assert {"/data", "/tmp"} <= set(mounted.values())
    assert f"USER {USER}:{USER}" in (ROOT / "Dockerfile").read_text()


def test_compose_opens_no_port_to_the_network_and_names_no_secret() -> None:
    """Only the page has a port, on this machine alone; each secret is a file that git ignores."""
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert set(ports) == {"127.0.0.1:7860:7860"}
    used = {secret for service in compose["services"].values() for secret in service.get("secrets", ())}
    assert used == compose["secrets"].keys()
    for secret in compose["secrets"].values():
        assert subprocess.run(["git", "check-ignore", "-q", secret["file"]], cwd=ROOT).returncode == 0
    assert [name for name, service in compose["services"].items() if "profiles" not in service] == ["page"]


def test_compose_is_understood() -> None:
    is_plugin = shutil.which("docker-compose") is None and shutil.which("docker") is not None
    if is_plugin and subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("no Compose here")
    program = ["docker", "compose"] if is_plugin else ["docker-compose"]
    run_tool(*program, "--profile", "server", "config", "--quiet")
