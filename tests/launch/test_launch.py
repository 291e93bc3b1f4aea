"""The launchers, against stand-ins for the programs that they call."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

LAUNCH = Path(__file__).parents[2] / "launch"
SCRIPTS = ("gpu.sh", "slurm.sh", "tpu_pod.sh", "k8s_jobset.sh")
NEEDS = {
    "gpu.sh": [],
    "slurm.sh": [],
    "tpu_pod.sh": ["--name", "n", "--zone", "z"],
    "k8s_jobset.sh": ["--image", "i:1", "--claim", "c"],
}
PGV = ["train", "a config.yaml", "critic.hidden=[64, 64]", "it's", '"$(x)" & \\', "--workdir", "w"]


def run(
    script: str, *args: str, cwd: Path | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    plain = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
    return subprocess.run(
        [str(LAUNCH / script), *args],
        env=plain | environ,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def stand_in(folder: Path, **programs: str) -> str:
    """A PATH on which the programs are these scripts."""
    (folder / "bin").mkdir(exist_ok=True)
    for name, body in programs.items():
        program = folder / "bin" / name
        program.write_text(f"#!/usr/bin/env bash\n{body}\n")
        program.chmod(0o755)
    return f"{folder / 'bin'}:{os.environ['PATH']}"


SHELLCHECK = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say():
    done = subprocess.run(
        [SHELLCHECK, *map(str, sorted(LAUNCH.glob("*.sh")))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_tells_each_option_that_the_script_reads(script: str):
    done = run(script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    body = (LAUNCH / script).read_text().split("\nEND\n}\n", 1)[1]
    known = {*re.findall(r"(--[a-z-]+)(?=\)| \|)", body)}
    assert len(known) > 3
    for option in known - {"--inside"}:
        assert f" {option} " in done.stdout, option


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--colour", "red"], "unknown option '--colour'"),
        (["--dry-run"], "nothing to"),
    ],
)
def test_a_wrong_call_is_one_sentence(script: str, args: list[str], words: str):
    done = run(script, *NEEDS[script], *args)
    assert done.returncode == 2
    assert words in done.stderr and len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("script", "args", "missing"),
    [
        ("tpu_pod.sh", [], "add --name or set TPU_NAME"),
        ("tpu_pod.sh", ["--name", "n"], "add --zone or set TPU_ZONE"),
        ("tpu_pod.sh", ["--name", "n", "--zone", "z", "--create"], "--create needs --type"),
        ("k8s_jobset.sh", [], "add --image or set PGV_IMAGE"),
        ("k8s_jobset.sh", ["--image", "i"], "add --claim or set PGV_CLAIM"),
        ("slurm.sh", ["--nodes", "two"], "'two' is not a whole number"),
        ("gpu.sh", ["--gpus", "0;1"], "'0;1' is not a list"),
        ("gpu.sh", ["--gpus"], "--gpus needs a value"),
    ],
)
def test_what_is_missing_is_named(script: str, args: list[str], missing: str):
    tail = [] if args[-1:] == ["--gpus"] else ["--", "train"]
    done = run(script, *args, *tail)
    assert done.returncode == 2 and missing in done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_dry_run_calls_nothing(tmp_path: Path, script: str):
    touch = f"touch {tmp_path}/called"
    names = ("gcloud", "sbatch", "srun", "kubectl", "pgv", "git", "scontrol")
    path = stand_in(tmp_path, **dict.fromkeys(names, touch))
    done = run(script, *NEEDS[script], "--dry-run", "--", *PGV, cwd=tmp_path, PATH=path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [entry.name for entry in tmp_path.iterdir()] == ["bin"]


def test_gpu_without_pgv_says_how_to_name_it(tmp_path: Path):
    done = run("gpu.sh", "--log", "a.log", "--", *PGV, cwd=tmp_path, PGV="no-pgv")
    assert done.returncode == 2 and list(tmp_path.iterdir()) == []
    assert done.stderr == (
        "gpu.sh: there is no program 'no-pgv' here; name pgv by its path, such as: "
        "--pgv .venv/bin/pgv\n"
    )
    named = stand_in(tmp_path, **{"my-pgv": 'printf "%s\n" "$@"'}).split(":")[0] + "/my-pgv"
    assert run("gpu.sh", "--pgv", named, "--", *PGV).stdout.splitlines() == PGV


def test_gpu_takes_the_place_of_its_shell(tmp_path: Path):
    """What is printed is what runs, and a signal to the script is one to pgv."""
    say = 'printf "%s\\n" "$CUDA_VISIBLE_DEVICES $JAX_PLATFORMS" "$@"; echo "pid $$"'
    wait = "while :; do read -rt 1 <> <(:) || :; done"
    path = stand_in(tmp_path, pgv=f'trap "echo saved; exit 130" TERM; {say}; {wait}')
    options = ["--gpus", "0,2", "--log", "logs/a b.log"]
    shell = subprocess.Popen(
        [str(LAUNCH / "gpu.sh"), *options, "--", *PGV],
        env=os.environ | {"PATH": path},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert shell.stdout is not None
    said = [next(shell.stdout).rstrip("\n") for _ in range(len(PGV) + 2)]
    shell.terminate()
    said += shell.communicate()[0].splitlines()  # ends when tee has written all
    assert said == ["0,2 cuda", *PGV, f"pid {shell.pid}", "saved"]
    assert (tmp_path / "logs" / "a b.log").read_text().splitlines() == said
    assert shell.returncode == 130
    printed = run("gpu.sh", *options, "--dry-run", "--", *PGV).stdout
    assert shlex.split(printed)[:3] == ["env", "JAX_PLATFORMS=cuda", "CUDA_VISIBLE_DEVICES=0,2"]
    assert shlex.split(printed)[3 : 4 + len(PGV)] == ["pgv", *PGV]


def slurm_words(line: str) -> list[str]:
    return shlex.split(line.removeprefix("# "))


def test_slurm_submits_itself_with_what_it_prints(tmp_path: Path):
    path = stand_in(tmp_path, sbatch='printf "%s\\n" "$@"')
    options = ["--nodes", "2", "--gpus-per-node", "8", "--time", "1:00", "--sbatch", "--qos=a b"]
    printed = run("slurm.sh", *options, "--dry-run", "--", *PGV).stdout.splitlines()
    done = run("slurm.sh", *options, "--", *PGV, cwd=tmp_path, PATH=path)
    submitted = done.stdout.splitlines()
    assert slurm_words(printed[0]) == ["sbatch", *submitted]
    assert {"--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=8", "--time=1:00"} < {*submitted}
    assert {"--requeue", "--signal=TERM@120", "--qos=a b", "--open-mode=append"} < {*submitted}
    assert (tmp_path / "logs").is_dir()
    job = submitted[submitted.index("--inside") - 1 :]
    assert slurm_words(printed[2])[0] == "srun" and slurm_words(printed[2])[-len(PGV) :] == PGV

    path = stand_in(tmp_path, srun='printf "%s\\n" "$@"')
    done = run(Path(job[0]).name, *job[1:], cwd=tmp_path, PATH=path, SLURM_JOB_ID="7")
    assert done.stdout.splitlines()[1:] == slurm_words(printed[2])[1:]


@pytest.mark.parametrize(
    ("status", "turns", "requeued"),
    [
        (0, 0, False),
        (1, 0, False),
        (2, 0, False),
        (3, 0, True),
        (130, 0, True),
        (137, 4, True),
        (3, 5, False),
    ],
)
def test_a_slurm_job_goes_back_to_the_queue_for_what_a_restart_can_mend(
    tmp_path: Path, status: int, turns: int, requeued: bool
):
    path = stand_in(tmp_path, srun=f"exit {status}", scontrol='echo "scontrol $*"')
    job = ["--inside", "--restarts", "5", "--", "train"]
    environ = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": str(turns)}
    done = run("slurm.sh", *job, cwd=tmp_path, PATH=path, **environ)
    assert ("scontrol requeue 7" in done.stdout) == requeued
    assert done.returncode == (0 if requeued else status)


def test_tpu_steps_come_in_order_and_only_when_asked():
    named = ["--name", "n", "--zone", "z"]
    only = run("tpu_pod.sh", *named, "--dry-run", "--", *PGV).stdout.splitlines()
    assert len(only) == 1 and " ssh n --zone=z --worker=all " in only[0]
    steps = ["--delete", "--setup", "--create", "--type", "t", "--version", "v", "--copy", "--stop"]
    lines = run("tpu_pod.sh", *named, *steps, "--dry-run", "--", "train").stdout.splitlines()
    kinds = ["tpu-vm create n", "archive", "tpu-vm scp", "rm -f", "tar -xzf", "make install"]
    kinds += [".venv/bin/pgv train", "kill -TERM", "tpu-vm delete n"]
    assert len(lines) == len(kinds)
    for line, kind in zip(lines, kinds, strict=True):
        assert kind in line


def test_a_tpus_library_comes_by_the_packages_extra_and_no_script_names_a_version_of_jax():
    line = run("tpu_pod.sh", "--name", "n", "--zone", "z", "--setup", "--dry-run").stdout
    installs = "make install && .venv/bin/python -m pip install --quiet '\\''pgv-jax[tpu]'\\''"
    assert installs in line and "jax[tpu]==" not in line
    extras = tomllib.loads((LAUNCH.parent / "pyproject.toml").read_text())["project"]
    assert extras["optional-dependencies"]["tpu"] == ["jax[tpu]"]


@pytest.mark.slow
def test_a_tpu_run_outlives_its_connection_and_ends_when_it_is_asked_to(tmp_path: Path):
    """The worker's side for real: started once, shown twice, stopped with its own status."""
    worker = tmp_path / "home" / "pgv_jax"
    (worker / ".venv" / "bin").mkdir(parents=True)
    pgv = worker / ".venv" / "bin" / "pgv"
    pgv.write_text(
        "#!/usr/bin/env bash\ntrap 'echo saved; exit 130' TERM\n"
        'printf "%s\\n" start "$@" end\nwhile :; do read -rt 1 <> <(:) || :; done\n'
    )
    pgv.chmod(0o755)
    # gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --worker=all --command=WORDS
    path = stand_in(tmp_path, gcloud='cd "$WORKER" && exec bash -c "${8#--command=}"')
    environ = {"PATH": path, "WORKER": str(worker.parent), "TPU_NAME": "n", "TPU_ZONE": "z"}

    def show() -> subprocess.Popen[str]:
        shell = subprocess.Popen(
            [str(LAUNCH / "tpu_pod.sh"), "--", *PGV],
            env=os.environ | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert shell.stdout is not None
        for line in shell.stdout:
            if line == "end\n":
                break
        return shell

    first = show()
    os.killpg(first.pid, signal.SIGHUP)  # the connection is cut
    first.communicate()
    second = show()
    stop = run("tpu_pod.sh", "--stop", **environ)
    assert stop.returncode == 0, stop.stderr
    out, _ = second.communicate()
    assert (second.returncode, out) == (130, "saved\n")
    log = (worker / "logs" / "train.log").read_text()
    assert log.splitlines() == ["start", *PGV, "end", "saved"]  # started once
    (pid,) = (worker / "logs" / "train.pid").read_text().split()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_the_template_is_yaml_and_every_place_in_it_is_filled():
    raw = (LAUNCH / "k8s_jobset.yaml").read_text()
    assert yaml.safe_load(raw)["kind"] == "JobSet"
    script = (LAUNCH / "k8s_jobset.sh").read_text()
    loop = next(line for line in script.splitlines() if line.startswith("for key in "))
    filled = {f"${{{key}}}" for key in loop.removesuffix("; do").split()[3:]}
    places = {word[: word.index("}") + 1] for word in raw.split() if word.startswith("${")} - {
        "${...}"
    }
    assert places <= filled


def jobset(*args: str) -> dict:
    done = run("k8s_jobset.sh", *NEEDS["k8s_jobset.sh"], *args, "--dry-run", "--", *PGV)
    assert "${" not in done.stdout
    return yaml.safe_load(done.stdout)


def test_jobset_is_one_run_of_all_its_pods():
    tree = jobset("--name", "mine", "--processes", "4", "--accelerator", "nvidia.com/gpu=8")
    (job,) = tree["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    assert tree["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 4, 4)
    (container,) = spec["template"]["spec"]["containers"]
    environ = {one["name"]: one["value"] for one in container["env"]}
    # A pod's host name is JOBSET-JOB-JOB'S INDEX-POD'S INDEX.JOBSET.
    host, port = environ["JAX_COORDINATOR_ADDRESS"].split(":")
    assert host == f"mine-{job['name']}-0-0.mine"
    assert tree["spec"]["network"]["enableDNSHostnames"] is True
    assert environ["JAX_NUM_PROCESSES"] == "4"
    assert [one["containerPort"] for one in container["ports"]] == [int(port)]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 8
    assert container["image"] == "i:1"
    (volume,) = spec["template"]["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == "c"
    assert container["volumeMounts"][0]["name"] == volume["name"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["backoffLimit"] == 0


def test_jobset_fails_for_wrong_input_and_restarts_for_the_rest():
    spec = jobset("--restarts", "7")["spec"]
    (job,) = spec["replicatedJobs"]
    (rule,) = job["template"]["spec"]["podFailurePolicy"]["rules"]
    (container,) = job["template"]["spec"]["template"]["spec"]["containers"]
    assert rule["onExitCodes"] == {
        "containerName": container["name"],
        "operator": "In",
        "values": [2],
    }
    assert spec["failurePolicy"]["maxRestarts"] == 7
    (rule,) = spec["failurePolicy"]["rules"]
    assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])


def test_jobset_passes_arguments_as_they_are():
    tree = jobset()
    (job,) = tree["spec"]["replicatedJobs"]
    (container,) = job["template"]["spec"]["template"]["spec"]["containers"]
    # Kubernetes reads $$( as $(.
    assert [word.replace("$$(", "$(") for word in container["args"]] == PGV
    assert "limits" in container["resources"] and len(container["resources"]["limits"]) == 1
