"""deploy/Containerfile, compose.yaml and kubernetes/, looked at by the tools of those who use them.

`tox -e containers` installs these, and there none may be missing; elsewhere what has none is
skipped. `.ci/container` runs the steps of the Containerfile.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from zqueue.cli import cli

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CONTAINERFILE = DEPLOY / "Containerfile"
COMPOSE = DEPLOY / "compose.yaml"
KUBERNETES = DEPLOY / "kubernetes"
MANIFESTS = sorted(path for path in KUBERNETES.rglob("*.yaml") if path.name != "kustomization.yaml")
SCRIPTS = [ROOT / ".ci" / "run", ROOT / ".ci" / "bare-debian"]

IS_REQUIRED = os.environ.get("ZQUEUE_TEST_CONTAINERS") == "required"
DRAIN_S = 30 + 5
"""The default of ``--drain-timeout``, and what comes after a drain."""


def tool(name: str) -> str:
    """A tool beside this Python, or in PATH."""
    found = shutil.which(
        name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if found is None:
        assert not IS_REQUIRED, f"there is no {name}"
        pytest.skip(f"{name} is not installed: tox -e containers")
    return found


def complaint(*command: str | Path) -> str:
    """What a tool says, if it finds a fault; else nothing."""
    done = subprocess.run(
        [tool(str(command[0])), *map(str, command[1:])], capture_output=True, text=True, timeout=240
    )
    return (done.stdout + done.stderr) if done.returncode else ""


@pytest.fixture
def yaml() -> Any:
    if not IS_REQUIRED:
        return pytest.importorskip("yaml", reason="PyYAML is not installed: tox -e containers")
    import yaml

    return yaml


@pytest.fixture
def documents(yaml: Any) -> list[dict[str, Any]]:
    """All manifests."""
    return [document for path in MANIFESTS for document in yaml.safe_load_all(path.read_text())]


def pods(documents: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for document in documents:
        if document["kind"] in {"Deployment", "StatefulSet"}:
            yield document["metadata"]["name"], document["spec"]["template"]["spec"]


def accepts(arguments: list[str]) -> None:
    """zqueue has this verb, with these options."""
    done = CliRunner().invoke(cli, [*arguments, "--help"])
    assert (done.exit_code, done.stderr) == (0, ""), arguments


def test_hadolint_finds_no_fault(tmp_path: Path) -> None:
    assert complaint("hadolint", CONTAINERFILE) == ""
    copy = tmp_path / "Containerfile"
    copy.write_text(CONTAINERFILE.read_text().replace(" --no-install-recommends", ""))
    assert "DL3015" in complaint("hadolint", copy)


def test_compose_finds_no_fault(tmp_path: Path) -> None:
    assert complaint("docker-compose", "-f", COMPOSE, "config", "-q") == ""
    copy = tmp_path / "compose.yaml"
    copy.write_text(COMPOSE.read_text().replace("command:", "comand:", 1))
    assert "comand" in complaint("docker-compose", "-f", copy, "config", "-q")


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_the_manifests_are_what_their_schemas_say(path: Path, tmp_path: Path) -> None:
    assert complaint("kubernetes-validate", "--strict", path) == ""
    copy = tmp_path / "copy.yaml"
    copy.write_text(path.read_text().replace("\nspec:\n", "\nspec:\n  misspelt: 1\n", 1))
    assert "misspelt" in complaint("kubernetes-validate", "--strict", copy)


def test_each_manifest_belongs_to_a_kustomization(yaml: Any) -> None:
    named = set()
    for path in KUBERNETES.rglob("kustomization.yaml"):
        for resource in yaml.safe_load(path.read_text())["resources"]:
            named.add(path.parent / resource)
    assert named == set(MANIFESTS)


def test_kustomize_renders_the_overlay_of_the_page(tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    (overlay,) = re.findall(r"```yaml\n(# kustomization.*?)```", README, re.DOTALL)
    (tmp_path / "zqueue").symlink_to(ROOT)
    shutil.copytree(KUBERNETES, tmp_path / "copy" / "deploy" / "kubernetes")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "kustomization.yaml").write_text(overlay.replace("zqueue/", "copy/"))
    done = subprocess.run(
        ["kubectl", "kustomize", tmp_path / "shop"], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert "kind: HorizontalPodAutoscaler" in done.stdout
    assert "image: registry.example.com/shop:7" in done.stdout
    assert "registry.example.com/zqueue" not in done.stdout


def test_shellcheck_finds_no_fault(tmp_path: Path, documents: list[dict[str, Any]]) -> None:
    assert complaint("shellcheck", "--severity=warning", *SCRIPTS) == ""
    for _, pod in pods(documents):
        (keys,) = pod["initContainers"]
        script = tmp_path / "keys.sh"
        script.write_text("#!/bin/sh\n" + keys["args"][0] + "\n")
        assert keys["command"] == ["/bin/sh", "-c"]
        assert complaint("shellcheck", script) == ""


def test_rights_are_few(documents: list[dict[str, Any]]) -> None:
    found = list(pods(documents))
    assert len(found) == 3
    for _, pod in found:
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == context["fsGroup"] == 10001
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False, "ZQUEUE_… would be set, and mean something else"
        for container in [*pod["initContainers"], *pod["containers"]]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]


def test_keys_are_for_their_owner_alone(documents: list[dict[str, Any]]) -> None:
    for _, pod in pods(documents):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["secret"]["secret"]["defaultMode"] == 0o400
        assert volumes["keys"]["emptyDir"]["medium"] == "Memory"
        (keys,) = pod["initContainers"]
        assert "install -m 0400" in keys["args"][0]
        for container in pod["containers"]:
            mounted = {mount["name"]: mount for mount in container["volumeMounts"]}
            assert mounted["keys"]["readOnly"] is True
            assert "secret" not in mounted


def test_what_keys_are_copied_by_does_it(tmp_path: Path, documents: list[dict[str, Any]]) -> None:
    """As a kubelet mounts them: links to files that the group may read."""
    for _, pod in pods(documents):
        (keys,) = pod["initContainers"]
        folder = tmp_path / keys["image"] / str(len(list(tmp_path.rglob("*"))))
        for name in ("secret", "secret/..data", "keys", "clients"):
            (folder / name).mkdir(parents=True)
        (folder / "secret" / "..data" / "worker.key").write_text("secret\n")
        (folder / "secret" / "..data" / "worker.key").chmod(0o440)
        (folder / "secret" / "worker.key").symlink_to("..data/worker.key")
        script = re.sub(r"(?<=[\s\"])/(secret|keys|clients)\b", rf"{folder}/\1", keys["args"][0])
        subprocess.run(["/bin/sh", "-c", script], check=True, timeout=10)
        copy = folder / "keys" / "worker.key"
        assert (copy.read_text(), copy.stat().st_mode & 0o777) == ("secret\n", 0o400)


def test_there_is_time_to_drain(yaml: Any, documents: list[dict[str, Any]]) -> None:
    for name, pod in pods(documents):
        least = 10 if name == "zqueue-metrics" else DRAIN_S
        assert pod["terminationGracePeriodSeconds"] >= least
    for service in yaml.safe_load(COMPOSE.read_text())["services"].values():
        assert int(service["stop_grace_period"].removesuffix("s")) >= DRAIN_S


def test_all_run_what_there_is(yaml: Any, documents: list[dict[str, Any]]) -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    commands = [service["command"] for service in services.values()]
    for _, pod in pods(documents):
        (container,) = pod["containers"]
        commands.append(container["args"])
        probe = container.get("readinessProbe", {}).get("exec")
        if probe:
            commands.append(probe["command"][1:])
    commands.append(services["broker"]["healthcheck"]["test"][2:])
    assert len(commands) == 9
    for arguments in commands:
        accepts(arguments)
        for argument in arguments:
            if argument.endswith(".py"):
                assert (ROOT / "workers" / Path(argument).name).is_file()


def test_what_may_speak_to_whom(documents: list[dict[str, Any]]) -> None:
    policies = {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "NetworkPolicy"}
    assert set(policies) == {name for name, _ in pods(documents)}
    broker = policies["zqueue-broker"]
    ((rule,), egress) = broker["ingress"], broker["egress"]
    (peer,) = rule["from"]
    assert egress == []
    assert [port["port"] for port in rule["ports"]] == [5555]
    labels = {
        d["metadata"]["name"]: d["spec"]["template"]["metadata"]["labels"]
        for d in documents
        if d["kind"] in {"Deployment", "StatefulSet"}
    }
    wanted = peer["podSelector"]["matchLabels"].items()
    clients = {name for name, has in labels.items() if wanted <= has.items()}
    assert clients == {"zqueue-wordcount", "zqueue-metrics"}


def test_what_is_disrupted_comes_one_at_a_time(documents: list[dict[str, Any]]) -> None:
    budgets = {d["metadata"]["name"]: d["spec"] for d in documents
               if d["kind"] == "PodDisruptionBudget"}  # fmt: skip
    assert set(budgets) == {"zqueue-broker", "zqueue-wordcount"}
    assert all(budget["maxUnavailable"] == 1 for budget in budgets.values())


def test_workers_are_scaled_by_the_age_of_the_oldest_task(documents: list[dict[str, Any]]) -> None:
    from zqueue.metrics.families import QUEUE_GAUGES

    (scaler,) = [d["spec"] for d in documents if d["kind"] == "HorizontalPodAutoscaler"]
    (metric,) = scaler["metrics"]
    name = metric["external"]["metric"]["name"]
    assert name in {gauge[0] for gauge in QUEUE_GAUGES}
    assert f"as: {name}" in README
    assert scaler["scaleTargetRef"]["name"] in {name for name, _ in pods(documents)}


README = (DEPLOY / "README.md").read_text()
SECRETS = re.findall(r"^\$ (kubectl create .*)$", README, re.MULTILINE)


def test_the_page_makes_all_that_is_mounted(documents: list[dict[str, Any]]) -> None:
    made = {}
    for command in SECRETS:
        words = shlex.split(command)
        name = words[words.index("generic" if "secret" in words else "configmap") + 1]
        made[name] = {Path(w.partition("=")[2]).name for w in words if w.startswith("--from-file")}
    wanted = set()
    for _, pod in pods(documents):
        for volume in pod["volumes"]:
            if "secret" in volume:
                name = volume["secret"]["secretName"]
            elif "configMap" in volume:
                name = volume["configMap"]["name"]
            else:
                continue
            wanted.add(name)
            used = set(re.findall(r"/keys/([\w.]+)", str(pod["containers"])))
            assert "secret" not in volume or used <= made[name]
    assert wanted == set(made)
