"""The launchers: linted, checked against schemas, their commands as printed by --dry_run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from absl import flags as absl_flags

from colorjax.devices import processes
from colorjax.train import flags

LAUNCH = Path(__file__).parents[2] / "launch"
BIN = Path(sys.executable).parent
SCRIPTS = ("local.sh", "tpu_vm.sh", "slurm.sbatch")
TPU = ("--name=tpu", "--zone=us-west4-a")


def run(script: str, *arguments: str) -> subprocess.CompletedProcess:
    command = ["bash", str(LAUNCH / script), *arguments]
    plain = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=plain)


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_linted(script: str) -> None:
    done = subprocess.run(
        [BIN / "shellcheck", LAUNCH / script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout
    assert os.access(LAUNCH / script, os.X_OK)


def test_the_dockerfile_is_linted() -> None:
    done = subprocess.run(
        [BIN / "hadolint", LAUNCH / "Dockerfile"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout
    text = (LAUNCH / "Dockerfile").read_text()
    for source in re.findall(r"^COPY (.*) \S+$", text, re.M):
        assert all((LAUNCH.parent / name).exists() for name in source.split())


def of(**properties: object) -> dict:
    """A schema of an object with these keys and no others."""
    return {"type": "object", "properties": properties, "additionalProperties": False}


TEXT, NUMBER, ANY = {"type": "string"}, {"type": "integer"}, {"type": "object"}
JOBSET = of(  # of kubernetes-sigs/jobset, v1alpha2; the Job inside has its own schema
    apiVersion={"const": "jobset.x-k8s.io/v1alpha2"},
    kind={"const": "JobSet"},
    metadata=of(name=TEXT, annotations=ANY),
    spec=of(
        failurePolicy=of(
            maxRestarts=NUMBER,
            rules={
                "type": "array",
                "items": of(
                    name={"type": "string", "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"},
                    action={
                        "enum": ["FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"]
                    },
                    onJobFailureReasons={"type": "array", "items": TEXT},
                ),
            },
        ),
        replicatedJobs={
            "type": "array",
            "items": of(name=TEXT, replicas=NUMBER, template=of(spec=ANY)),
        },
    ),
)
SKY = of(  # of SkyPilot's task YAML
    name=TEXT,
    workdir=TEXT,
    num_nodes=NUMBER,
    envs={"type": "object", "additionalProperties": TEXT},
    file_mounts={
        "type": "object",
        "additionalProperties": of(source=TEXT, mode={"enum": ["MOUNT", "COPY", "MOUNT_CACHED"]}),
    },
    resources=of(
        infra=TEXT,
        accelerators=TEXT,
        accelerator_args=of(runtime_version=TEXT),
        use_spot={"type": "boolean"},
        job_recovery=of(
            strategy={"enum": ["FAILOVER", "EAGER_NEXT_REGION"]},
            max_restarts_on_errors=NUMBER,
        ),
    ),
    setup=TEXT,
    run=TEXT,
)


COMPOSE = of(  # of the Compose specification
    services={
        "type": "object",
        "additionalProperties": of(
            build=of(context=TEXT, dockerfile=TEXT, args=ANY),
            image=TEXT,
            command={"type": "array", "items": TEXT},
            environment=ANY,
            ports={"type": "array", "items": TEXT},
            volumes={"type": "array", "items": TEXT},
            tmpfs={"type": "array", "items": TEXT},
            read_only={"type": "boolean"},
            cap_drop={"type": "array", "items": TEXT},
            security_opt={"type": "array", "items": TEXT},
            restart={"enum": ["no", "always", "on-failure", "unless-stopped"]},
            stop_grace_period=TEXT,
        ),
    },
    volumes=ANY,
)


def test_the_compose_file_is_valid() -> None:
    """And is of the Dockerfile that there is, of its port, user's folder and command."""
    from colorjax.serve import __main__ as serve

    compose = yaml.safe_load((LAUNCH / "compose.yaml").read_text())
    jsonschema.validate(compose, COMPOSE)
    (service,) = compose["services"].values()
    dockerfile = (LAUNCH / "Dockerfile").read_text()
    assert (LAUNCH / service["build"]["context"] / service["build"]["dockerfile"]).exists()
    assert set(service["build"]["args"]) <= set(re.findall(r"^ARG (\w+)", dockerfile, re.M))
    module, *words = service["command"]
    args = serve.parse(words)
    assert module == "colorjax.serve" and service["ports"] == [f"127.0.0.1:{args.port}:{args.port}"]
    name, folder = service["volumes"][0].split(":")
    assert name in compose["volumes"] and f"VOLUME {folder}\n" in dockerfile
    assert service["read_only"] and service["tmpfs"] == ["/tmp"]


def test_the_jobset_is_valid() -> None:
    jobset = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())
    jsonschema.validate(jobset, JOBSET)
    (replicated,) = jobset["spec"]["replicatedJobs"]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "slice"}}
    kubernetes_validate.validate(job | replicated["template"], "1.31", strict=True)
    spec = replicated["template"]["spec"]
    ignored, failed = (rule["onExitCodes"]["values"] for rule in spec["podFailurePolicy"]["rules"])
    assert (ignored, failed) == ([processes.STOPPED], [2])
    pod = spec["template"]["spec"]
    x, y = map(int, pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x"))
    (container,) = pod["containers"]
    own = container["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 1000
    assert not own["allowPrivilegeEscalation"] and own["capabilities"]["drop"] == ["ALL"]
    chips = container["resources"]["limits"]["google.com/tpu"]
    assert spec["parallelism"] == spec["completions"] == x * y // chips
    known_to_training(container["args"])


def test_the_sky_task_is_valid() -> None:
    task = yaml.safe_load((LAUNCH / "sky.yaml").read_text())
    jsonschema.validate(task, SKY)
    known_to_training(re.findall(r"--\S+", task["run"]))
    check = subprocess.run(["bash", "-n"], input=task["setup"] + task["run"], text=True)
    assert check.returncode == 0


def known_to_training(arguments: list[str]) -> None:
    """Every flag is one of the training's, and every key one of the configuration's."""
    from colorjax.configs import lcad

    for argument in arguments:
        name = argument.removeprefix("--").split("=")[0]
        if name.startswith("config."):
            assert name.removeprefix("config.") in flags.dotted(lcad.get_config()), argument
        else:
            assert name in absl_flags.FLAGS, argument


def test_dry_runs_print_the_commands() -> None:
    local = run("local.sh", "--processes=3", "--devices=2", "--dry_run", "--", "--config=a b")
    rows = local.stdout.splitlines()
    assert local.returncode == 0 and len(rows) == 3
    for i, row in enumerate(rows):
        assert f"--process_id={i}" in row and "--num_processes=3" in row and r"--config=a\ b" in row
        assert r"XLA_FLAGS=--xla_force_host_platform_device_count=2" in row
    slurm = run("slurm.sbatch", "--dry_run", "--config=configs/lcad.py")
    expected = "srun --kill-on-bad-exit=1 python3 -m colorjax.train --config=configs/lcad.py"
    assert slurm.stdout.split() == expected.split()
    tpu = run("tpu_vm.sh", "all", *TPU, "--bucket=b", "--dry_run", "--", "--config=c.py")
    verbs = [
        row.split()[4] if row.startswith("gcloud") else "git" for row in tpu.stdout.split("\n")
    ]
    assert verbs[:-1] == ["create", "git", "scp", "ssh", "ssh", "ssh", "ssh", "ssh"], tpu.stdout
    assert "gcsfuse" in tpu.stdout and "--distributed=on" in tpu.stdout
    assert "--config=c.py" in tpu.stdout and "bucket/runs/tpu" in tpu.stdout


HOSTILE = "a b'\"$(touch owned)`touch owned`;touch owned;$HOME"


@pytest.mark.parametrize(
    "workdir,meant",
    [
        ("", "{home}/runs/tpu"),
        ("/mnt/" + HOSTILE, "/mnt/" + HOSTILE),
        ("~/" + HOSTILE, "{home}/" + HOSTILE),
        ("$HOME/" + HOSTILE, "{home}/" + HOSTILE),
    ],
)
def test_what_the_worker_runs_is_the_training(tmp_path: Path, workdir: str, meant: str) -> None:
    """The quoted command inside the quoted command, run by a real shell with a false python."""
    more = [f"--workdir={workdir}"] if workdir else []
    tpu = run("tpu_vm.sh", "run", *TPU, *more, "--dry_run", "--", "--config=c.py:a b", "--x='")
    command = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {tpu.stdout}"], capture_output=True, text=True
    ).stdout
    remote = re.search(r"--command=(.*)", command, re.S).group(1).strip()
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    (tmp_path / "colorjax").mkdir()
    done = subprocess.run(
        ["bash", "-c", f"{remote} wait"], cwd=tmp_path, env=os.environ | {"HOME": str(tmp_path)}
    )
    assert done.returncode == 0
    given = (tmp_path / "colorjax.log").read_text().splitlines()
    home = "--workdir=" + meant.replace("{home}", str(tmp_path))
    assert not list(tmp_path.rglob("owned"))
    assert given == ["-m", "colorjax.train", "--distributed=on", home, "--config=c.py:a b", "--x='"]
    assert (tmp_path / "colorjax.pid").read_text().strip().isdigit()


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("local.sh", ("--processes=0",), "1 or more"),
        ("local.sh", ("--config=x",), "after --"),
        ("tpu_vm.sh", ("run", *TPU), "what to train is missing"),
        ("tpu_vm.sh", ("create", "--zone=z"), "--name is"),
        ("tpu_vm.sh", ("create", "--name=n"), "--zone is missing"),
        ("tpu_vm.sh", ("destroy",), "ACTION"),
        ("slurm.sbatch", (), "what to train is missing"),
    ],
)
def test_mistakes_are_told(script: str, arguments: tuple[str, ...], words: str) -> None:
    done = run(script, *arguments)
    assert done.returncode == 2 and words in done.stdout + done.stderr
