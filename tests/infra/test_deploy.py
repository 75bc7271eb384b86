"""What infra/docker, infra/kubernetes and infra/terraform must hold to, and what tools that are here say of them."""

import configparser
import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from infra.settings import Settings
from lineage import attestation, retirement
from lineage.approvals import APPROVALS
from lineage.erasure import ERASURES
from lineage.holds import HOLDS
from lineage.lease import LEASES
from lineage.ledger import LEDGERS
from lineage.releases import manifest_key
from lineage.runs import RUNS
from lineage.snapshots import SNAPSHOTS
from lineage.windows import EVIDENCE, MONITOR

INFRA = Path(__file__).parents[2] / "infra"
DOCKER, KUBERNETES, TERRAFORM = INFRA / "docker", INFRA / "kubernetes", INFRA / "terraform"
OVERLAYS = KUBERNETES / "overlays"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {name for name, service in SERVICES.items() if service["restart"] == "no"}
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?")
SECRET = re.compile(r"PASSWORD|SECRET_KEY|ACCESS_KEY|AUTH_STRING|API_KEY|ERASURE_KEY|SIGNING_KEY|TOKEN")
WORKLOADS = {"Deployment", "StatefulSet", "Job"}


def documents() -> list[dict[str, Any]]:
    """All objects in the Kubernetes files, and the Job that the template of the pool `gpu` makes."""
    files = [path for path in KUBERNETES.rglob("*.yaml") if path.name != "kustomization.yaml"]
    found = [each for path in sorted(files) for each in yaml.safe_load_all(path.read_text())]
    return [*found, filled_template()]


def filled_template() -> Any:
    """The job manifest of the pool `gpu`, its variables at their defaults."""
    template = json.loads((OVERLAYS / "gpu/gpu-job.json").read_text())
    properties = template["variables"]["properties"]
    values = {name: each.get("default", "") for name, each in properties.items()}

    def fill(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: fill(each) for key, each in node.items()}
        if isinstance(node, list):
            return [fill(each) for each in node]
        if isinstance(node, str) and (whole := re.fullmatch(r"{{ (\w+) }}", node)):
            return values[whole[1]]
        return re.sub(r"{{ (\w+) }}", lambda found: str(values[found[1]]), node) if isinstance(node, str) else node

    return fill(template["job_configuration"]["job_manifest"])


def pod_specs() -> dict[str, dict[str, Any]]:
    """The pod of each workload, by name."""
    found = [each for each in documents() if each["kind"] in WORKLOADS]
    return {
        each["metadata"].get("name") or each["metadata"]["generateName"]: each["spec"]["template"]["spec"]
        for each in found
    }


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Every container of a pod, those that start first too."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def env_file(path: Path) -> dict[str, str]:
    """`NAME=value` lines."""
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


def env_names_used() -> set[str]:
    """Every variable that is set in a service, a container or an overlay."""
    of_services = (service.get("environment", {}) for service in SERVICES.values())
    of_pods = (
        [each["name"] for one in containers(pod) for each in one.get("env") or []] for pod in pod_specs().values()
    )
    of_files = (env_file(path) for path in OVERLAYS.rglob("*.env"))
    return set(itertools.chain(*of_services, *of_pods, *of_files))


# files


def test_everything_parses() -> None:
    parsed = [yaml.safe_load_all(path.read_text()) for path in INFRA.rglob("*.yaml")]
    assert all(any(True for _ in each) for each in parsed)
    assert all(json.loads(path.read_text()) for path in INFRA.rglob("*.json") if "secrets" not in path.parts)
    for path in INFRA.rglob("mlflow-auth.ini"):
        config = configparser.ConfigParser()
        config.read(path)
        assert config["mlflow"]["database_uri"].startswith("postgresql+psycopg:")


def test_every_environment_name_is_one_that_nightreel_reads() -> None:
    read = {f"NIGHTREEL_{field}".upper() for field in Settings.model_fields}
    used = {*COMPOSE["secrets"], *env_names_used()}
    assert {name for name in used if name.startswith("NIGHTREEL_")} - read == set()


def test_no_secret_stands_in_an_environment() -> None:
    assert {name for name in env_names_used() if SECRET.search(name)} == {
        "POSTGRES_PASSWORD_FILE",  # where it is
        "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_KEY",  # what Kubernetes calls it
        "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_NAME",
    }
    text = "".join(path.read_text() for path in (DOCKER / "compose.yaml", *OVERLAYS.rglob("*.env")))
    assert not re.search(r"://[^/\s]+:[^/\s@]+@", text)  # user:password@host


# images


def test_every_image_is_pinned() -> None:
    images = {service["image"] for service in SERVICES.values()}
    images |= {one["image"] for pod in pod_specs().values() for one in containers(pod)}
    dockerfile = (DOCKER / "Dockerfile").read_text()
    images |= set(re.findall(r"^ARG PYTHON=(\S+)", dockerfile, re.MULTILINE))
    assert images
    assert [image for image in images if not PINNED.fullmatch(image)] == []
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {"${PYTHON}", "cpu", "packages"}


@pytest.mark.parametrize("image", ["nightreel", "nightreel:latest", "nightreel:3", "host:5000/nightreel"])
def test_an_image_without_an_exact_tag_is_told(image: str) -> None:
    assert not PINNED.fullmatch(image)


def test_images_install_from_hashed_locks_alone_and_run_as_nobody_special() -> None:
    dockerfile = (DOCKER / "Dockerfile").read_text()
    for line in re.findall(r"pip install (.*)", dockerfile):
        assert "--no-deps" in line
        assert "--require-hashes" in line or line.endswith("--no-build-isolation /opt/nightreel/code")
    assert re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE) == ["10001:10001"]
    assert "index-url" not in dockerfile


@pytest.mark.parametrize("lock", ["cuda.lock", "kubernetes.lock"])
def test_the_further_locks_are_hashed_and_repeat_nothing(lock: str) -> None:
    def names(path: Path) -> set[str]:
        return set(re.findall(r"^([\w.-]+)==", path.read_text(), re.MULTILINE))

    text = (DOCKER / lock).read_text()
    assert names(DOCKER / lock) & names(INFRA.parent / "requirements.lock") == set()
    assert all("--hash=sha256:" in each for each in re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:])


secret_text = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1).map(str.strip).filter(bool)


@given(secret=secret_text)
def test_the_entrypoint_hands_on_what_a_program_is_told(secret: str) -> None:
    words = ["sh", str(DOCKER / "entrypoint"), "printf", "%s", secret]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == secret


# Compose


def test_compose_has_the_whole_stack() -> None:
    assert set(SERVICES) == {
        "postgres", "seaweedfs", "buckets", "mlflow", "prefect", "checkout", "worker-cpu", "worker-gpu"
    }  # fmt: skip
    assert {"buckets", "checkout"} == ONE_SHOT
    assert [name for name, service in SERVICES.items() if service.get("profiles") == ["gpu"]] == ["worker-gpu"]
    assert SERVICES["worker-gpu"]["build"]["target"] == "cuda"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_is_restricted_and_looked_after(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    if name in ONE_SHOT:
        assert service["healthcheck"] == {"disable": True}
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] == "CMD"
    for door in service.get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", door)


def test_a_service_waits_for_what_it_needs_in_the_way_that_this_one_ends() -> None:
    waits = [(name, other, how) for name, s in SERVICES.items() for other, how in s.get("depends_on", {}).items()]
    assert waits
    for _, other, how in waits:
        done = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
        assert how == {"condition": done}


def test_what_services_use_is_declared_and_used() -> None:
    def sources(kind: str) -> set[str]:
        used = itertools.chain.from_iterable(service.get(kind, []) for service in SERVICES.values())
        return {each["source"] if isinstance(each, dict) else each.split(":")[0] for each in used}

    for kind in ("secrets", "configs", "volumes"):
        assert sources(kind) == set(COMPOSE[kind])
    assert all((DOCKER / each["file"]).is_file() for each in COMPOSE["configs"].values())
    assert all(each["file"].startswith("./secrets/") for each in COMPOSE["secrets"].values())


def test_secrets_are_made_once_for_every_name_in_compose(tmp_path: Path) -> None:
    script = shutil.copy(DOCKER / "make-secrets", tmp_path)

    def made() -> dict[str, str]:
        subprocess.run([script], check=True)
        return {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}

    first = made()
    assert set(first) == {Path(each["file"]).name for each in COMPOSE["secrets"].values()}
    assert made() == first
    (identity,) = json.loads(first["s3.json"])["identities"]
    keys = {"accessKey": first["NIGHTREEL_S3_ACCESS_KEY"], "secretKey": first["NIGHTREEL_S3_SECRET_KEY"]}
    assert identity["credentials"] == [keys]
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


# Kubernetes


@pytest.mark.parametrize("name", sorted(pod_specs()))
def test_a_pod_is_as_restricted_as_its_namespace_asks(name: str) -> None:
    pod = pod_specs()[name]
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is (name == "starter")
    assert pod["serviceAccountName"] in {
        each["metadata"]["name"] for each in documents() if _is(each, "ServiceAccount")
    }
    mounted = {each["name"] for each in pod["volumes"]} | ({"state"} if name == "worker-cpu" else set())
    for one in containers(pod):
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= set(one["resources"]["requests"])
        assert "memory" in one["resources"]["limits"]
        assert {each["name"] for each in one["volumeMounts"]} <= mounted


@pytest.mark.parametrize("name", sorted(name for name in pod_specs() if name != "night-"))
def test_what_stays_up_has_probes_and_a_budget(name: str) -> None:
    (container,) = pod_specs()[name]["containers"]
    ports = {each["name"] for each in container["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] in ports
    budgets = [each for each in documents() if _is(each, "PodDisruptionBudget")]
    assert name in {each["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] for each in budgets}


def test_the_network_is_closed_but_for_what_is_named() -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in documents() if _is(each, "NetworkPolicy")}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert all(rule.get("ports") for spec in policies.values() for rule in _rules(spec))
    away = policies["aws"]["egress"][0]["to"][0]["ipBlock"]
    assert away["except"] == ["169.254.0.0/16"]  # where a node tells its credentials


def test_nothing_but_the_starter_may_ask_kubernetes_and_it_little() -> None:
    (role,) = (each for each in documents() if _is(each, "Role"))
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {
        "create", "delete", "get", "list", "patch", "watch"
    }  # fmt: skip
    assert {"jobs", "pods", "pods/log", "events"} == {kind for rule in role["rules"] for kind in rule["resources"]}
    assert not [each for each in documents() if each["kind"].startswith("Cluster")]


def test_a_night_on_a_gpu_asks_for_one_where_it_is() -> None:
    pod = filled_template()["spec"]["template"]["spec"]
    taint = re.search(r"taint {([^}]*)}", (TERRAFORM / "cluster.tf").read_text())
    assert taint
    assert 'key    = "nvidia.com/gpu"' in taint[1]
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert pod["nodeSelector"] == {"nightreel.io/pool": "gpu"}


# Terraform


def test_the_store_keeps_what_nightreel_never_removes() -> None:
    kept = re.search(r"append_only = \[(.*?)]", _terraform()["storage.tf"], re.DOTALL)
    erase = re.search(r'sid += "EraseAndTidyLeases".*?\n  }', _terraform()["identity.tf"], re.DOTALL)
    assert kept
    assert erase
    release = "0" * 64
    books = (attestation.key_of(release), retirement.key_of(release), manifest_key(release))
    one_each = (APPROVALS, ERASURES, EVIDENCE, HOLDS, LEDGERS, MONITOR, RUNS, *books)
    assert set(re.findall(r'"(\w+)"', kept[1])) == {key.split("/")[0] for key in one_each}
    # parts of releases and indexes of snapshots go by flows/erase.py and flows/gc.py, earlier states of a lease by it
    assert re.findall(r"local.store}/(\w+)/", erase[0]) == ["blobs", LEASES.strip("/"), SNAPSHOTS.strip("/")]


def test_roles_name_their_actions() -> None:
    statements = re.split(r"\n  statement {|\n    content {", "".join(_terraform().values()))[1:]
    wild = [each for each in statements if re.search(r'"[a-z0-9]+:[^"]*\*"', each.split("resources")[0])]
    assert all('effect    = "Deny"' in each for each in wild)
    assert len(wild) == 1  # TLS only, for whatever is asked


def test_variables_are_typed_and_told_and_versions_are_held() -> None:
    blocks = re.split(r'^variable "', _terraform()["variables.tf"], flags=re.MULTILINE)[1:]
    assert all("\n  type " in each and "\n  description " in each for each in blocks)
    declared = {each.split('"')[0] for each in blocks}
    assert set(re.findall(r"var\.(\w+)", "".join(_terraform().values()))) == declared
    assert re.search(r'version = "~> \d+\.\d+"', _terraform()["versions.tf"])


def test_outputs_are_what_the_overlays_ask_for() -> None:
    told = set(re.findall(r"^    ([A-Z0-9_]+) +=", _terraform()["outputs.tf"], re.MULTILINE))
    asked = {
        name
        for path in (OVERLAYS / "cpu-only").glob("*.env")
        for name, value in env_file(path).items()
        if re.search(r"BUCKET|DATABASE|us-east-1|^nightreel$", value) and name != "MLFLOW_TRACKING_USERNAME"
    }
    assert told == asked


# what tools say, where they are


def tool(*words: str, **environment: str) -> str:
    """What a tool prints. A tool that is not on this machine skips the check by its name."""
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not on this machine")
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("profile", ["", "gpu"])
def test_docker_compose_reads_it(profile: str) -> None:
    if shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not on this machine")
    read = tool("docker", "compose", "--file", str(DOCKER / "compose.yaml"), "config", COMPOSE_PROFILES=profile)
    assert set(yaml.safe_load(read)["services"]) == set(SERVICES) - ({"worker-gpu"} if not profile else set())


@pytest.mark.parametrize("overlay", ["cpu-only", "gpu"])
def test_kustomize_renders_it(overlay: str) -> None:
    rendered = list(yaml.safe_load_all(_rendered(overlay)))
    text = yaml.safe_dump_all(rendered)
    assert "ROLE_ARN" not in text
    assert {each["metadata"].get("namespace", "nightreel") for each in rendered} == {"nightreel"}
    maps = {each["metadata"]["name"] for each in rendered if _is(each, "ConfigMap")}
    pods = [each["spec"]["template"]["spec"] for each in rendered if each["kind"] in WORKLOADS]
    asked = {each["configMapRef"]["name"] for pod in pods for one in containers(pod) for each in one.get("envFrom", [])}
    asked |= {each["configMap"]["name"] for pod in pods for each in pod["volumes"] if "configMap" in each}
    assert asked == maps
    assert {one["image"].split("/")[0] for pod in pods for one in containers(pod)} == {
        "123456789012.dkr.ecr.us-east-1.amazonaws.com"
    }


def test_kubeconform_accepts_it(tmp_path: Path) -> None:
    rendered = tmp_path / "gpu.yaml"
    rendered.write_text(_rendered("gpu"))
    tool("kubeconform", "-strict", str(rendered))


def test_terraform_would_write_it_so() -> None:
    tool(_terraform_tool(), "fmt", "-check", "-diff", str(TERRAFORM))


def test_terraform_accepts_it() -> None:
    name = _terraform_tool()
    if shutil.which(name) and not (TERRAFORM / ".terraform").is_dir():
        pytest.skip(f"{name} validate needs the provider: `{name} -chdir=infra/terraform init -backend=false`")
    tool(name, f"-chdir={TERRAFORM}", "validate")


def test_hadolint_accepts_the_dockerfile() -> None:
    tool("hadolint", str(DOCKER / "Dockerfile"))


def _terraform_tool() -> str:
    return "tofu" if shutil.which("tofu") else "terraform"


def _rendered(overlay: str) -> str:
    words = ["kustomize", "build"] if shutil.which("kustomize") else ["kubectl", "kustomize"]
    return tool(*words, str(OVERLAYS / overlay))


def _terraform() -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(TERRAFORM.glob("*.tf"))}


def _is(document: dict[str, Any], kind: str) -> bool:
    return bool(document["kind"] == kind)


def _rules(policy: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from policy.get("ingress", [])
    yield from policy.get("egress", [])
