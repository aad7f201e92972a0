"""One command serves torchrun's restarts and requeued SLURM jobs, with and without a folder that all machines share."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import torch
import yaml
from torch.distributed.run import get_args_parser

from tests.cli.test_validation import composed
from tests.conftest import ROOT, TINY
from tests.training.test_training import same

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
COMMAND = [str(ROOT / "scripts" / "train.py"), *TINY, "samples.final_seconds=0", "trainer=ddp"]
COMMAND += ["trainer.accelerator=cpu", "trainer.devices=auto", "trainer.precision=32-true", "logger=none"]
COMMAND += ["trainer.enable_progress_bar=false", "optimizer=adamw", "trainer.val_check_interval=1000000"]
COMMAND += ["run_dir=run", "resume=auto", "save_every_n_steps=10"]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def torchrun(port, restarts=1):
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    return [*command, "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", f"--max-restarts={restarts}"]


@contextmanager
def started(command, environments, folders):
    """Start a command once for each environment, in its folder; the processes are ended with the test."""
    with ExitStack() as stack:
        processes = []
        for environment, folder in zip(environments, folders, strict=True):
            options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": folder}
            process = subprocess.Popen(command, env={**os.environ, **environment}, start_new_session=True, **options)
            stack.enter_context(process)
            stack.callback(kill_group, process)
            processes.append(process)
        yield processes


def kill_group(process):
    with ExitStack() as stack:
        stack.callback(process.kill)
        for child in descendants(process.pid):
            with suppress(ProcessLookupError):  # one may end while another is killed
                os.kill(child, signal.SIGKILL)


def descendants(pid):
    """Return the ids of a process's children, and of theirs."""
    found = []
    for child in subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split():
        found += [int(child), *descendants(child)]
    return found


def wait_for(path, processes, seconds=100):
    until = time.monotonic() + seconds
    while not path.exists():
        assert all(process.poll() is None for process in processes), [p.communicate()[0] for p in processes]
        assert time.monotonic() < until
        time.sleep(0.02)


def outputs(processes, codes):
    texts = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == codes, texts
    return texts


def tasks(port, size=2, **more):
    """Return the variables that srun gives each task, one on each machine."""
    common = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": str(size), "SLURM_LOCALID": "0"}
    common |= {"SLURM_NNODES": str(size), "SLURM_NTASKS_PER_NODE": "1", "SLURM_NODELIST": "127.0.0.1"}
    common |= {"SLURM_STEP_NUM_TASKS": str(size), "MASTER_PORT": str(port), **more}
    return [common | {"SLURM_PROCID": str(rank), "SLURM_NODEID": str(rank)} for rank in range(size)]


def last(folder):
    return torch.load(Path(folder) / "run" / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run of two processes from its beginning to its end; all others here must end in its state."""
    folder = tmp_path_factory.mktemp("undisturbed")
    command = [sys.executable, *COMMAND, "trainer.max_steps=300"]
    with started(command, tasks(free_port()), [folder] * 2) as processes:
        first, second = outputs(processes, [0, 0])
    assert "done     300 steps" in first
    assert "run      run on 2 x cpu" in first
    assert "wavenet" not in second  # the first one speaks
    return last(folder)


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
def test_torchrun_restarts_a_run_whose_worker_was_killed_or_frozen_with_the_same_bits(undisturbed, tmp_path, signum):
    """Two agents, each with a worker; the second one's is killed or stopped after the first checkpoint.

    Lost and frozen machines are in tests/reliability/machines.py.
    """
    frozen = ["trainer.timeout=10"] if signum == signal.SIGSTOP else []
    command = [*torchrun(free_port()), *COMMAND, "trainer.max_steps=300", *frozen]
    with started(command, [{}, {}], [tmp_path] * 2) as agents:
        wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", agents)
        (worker,) = descendants(agents[1].pid)
        os.kill(worker, signum)
        texts = outputs(agents, [0, 0])
    assert "done     300 steps" in "".join(texts)
    assert same(last(tmp_path)["state_dict"], undisturbed["state_dict"])
    assert same(last(tmp_path)["optimizer_states"], undisturbed["optimizer_states"])
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("run")] == ["run"]


@pytest.mark.slow
def test_machines_need_not_share_a_folder(undisturbed, tmp_path):
    """The second machine prepares its own recordings, and gets the checkpoint from the first one."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    command = [sys.executable, *COMMAND, "trainer.max_steps=300"]
    with started(command, tasks(free_port()), folders) as processes:
        wait_for(folders[0] / "run" / "checkpoints" / "last.ckpt", processes)
        processes[0].send_signal(signal.SIGTERM)
        outputs(processes, [128 + signal.SIGTERM] * 2)
    with started(command, tasks(free_port()), folders) as processes:
        first, _ = outputs(processes, [0, 0])
    assert "done     300 steps" in first
    assert same(last(folders[0])["state_dict"], undisturbed["state_dict"])
    assert not (folders[1] / "run").exists()
    with started([sys.executable, *COMMAND], tasks(free_port()), folders[::-1]) as processes:
        first, second = outputs(processes, [2, 2])
    host = socket.gethostname()
    expected = f"wavenet train: run/config.yaml is on {host} (process 1), but not on {host}, where process 0 runs"
    assert first.strip().splitlines()[-1].startswith(expected)
    assert second.strip().splitlines()[-1].startswith(expected)
    assert not (folders[1] / "run").exists()


def test_auto_begins_and_goes_on(run, in_tmp, speech):
    settings = [*TINY, "dataset=folder", f"dataset.root={speech}", "logger=none", "resume=auto"]
    with pytest.raises(
        AssertionError, match=r"exit 2[\s\S]*resume=auto goes on with the run in run_dir if there is one"
    ):
        run("train", *settings)
    settings.append("run_dir=r")
    os.mkdir("r")
    Path("r/job.log").write_text("of the cluster")  # a folder that is there already
    assert "done     2 steps" in run("train", *settings)
    assert Path("r/job.log").exists()
    again = run("train", *settings, "trainer.max_steps=4")
    assert "done     4 steps" in again
    assert "kept" not in again
    assert "done     4 steps" in run("train", *settings, "trainer.max_steps=4")  # as after a job that was done
    assert sorted(path.name for path in in_tmp.iterdir() if path.name.startswith("r")) == ["r"]


def test_auto_goes_on_with_no_other_run(run, in_tmp, speech):
    settings = [*TINY, "dataset=folder", f"dataset.root={speech}", "logger=none", "resume=auto", "run_dir=r"]
    run("train", *settings, "experiment=vocoder")
    assert "done     3 steps" in run("train", *settings, "experiment=vocoder", "trainer.max_steps=3")
    for change, named in (
        (["model.residual_channels=12"], r"model\.residual_channels is 12, and 8 in the run \S+/r,"),
        (
            ["model/distribution=gaussian"],
            r"model\.distribution\._target_ is 'wavenet\.distributions\.gaussian_mixture\.G",
        ),
    ):
        with pytest.raises(AssertionError, match=rf"exit 2[\s\S]*{named}[\s\S]*give another run_dir"):
            run("train", *settings, "experiment=vocoder", *change, "trainer.max_steps=4")
    shutil.rmtree("r/checkpoints")
    os.remove("r/config.yaml")
    os.mkdir("r/checkpoints")
    with pytest.raises(
        AssertionError, match=r"exit 2[\s\S]*resume=auto: r is no run's folder, as it has no config.yaml"
    ):
        run("train", *settings)


def test_auto_says_which_settings_of_the_run_it_keeps(run, in_tmp, speech):
    settings = [*TINY, "dataset=folder", f"dataset.root={speech}", "logger=none", "resume=auto", "run_dir=r"]
    run("train", *settings, "seed=3")
    output = run("train", *settings, "trainer.max_steps=3")
    assert "kept     seed is 3, as in the run; the configs have 0\n" in output


SRUN = """#!{python}
import os, signal, subprocess, sys
tasks = {{"SLURM_STEP_NUM_TASKS": "2"}}
processes = [
    subprocess.Popen(sys.argv[1:], env={{**os.environ, **tasks, "SLURM_PROCID": str(rank), "SLURM_NODEID": str(rank)}})
    for rank in range(2)
]
signal.signal(signal.SIGUSR1, lambda signum, frame: [process.send_signal(signum) for process in processes])
sys.exit(max(process.wait() for process in processes))
"""


@pytest.mark.slow
def test_the_job_script_of_slurm_queues_its_job_again_until_it_is_done(undisturbed, tmp_path):
    """The script itself, with stand-ins for srun, which passes a signal on to its tasks, and for scontrol."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "srun").write_text(SRUN.format(python=sys.executable))
    (tools / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/requeued\n')
    (tools / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for tool in ("srun", "scontrol", "python"):
        (tools / tool).chmod(0o755)
    script = ROOT / "scripts" / "clusters" / "train.sbatch"
    settings = [setting for setting in COMMAND[1:] if setting not in ("trainer=ddp", "resume=auto")]
    command = ["bash", str(script), *settings, "trainer.max_steps=300", f"run_dir={tmp_path}/run"]
    command.append(f"preparation.cache_dir={tmp_path}/cache")

    def environment():
        (first, _) = tasks(free_port())
        del first["SLURM_STEP_NUM_TASKS"]  # the script itself is no task; srun gives it to them
        return first | {"PATH": f"{tools}:{os.environ['PATH']}"}

    with started(command, [environment()], [ROOT]) as (job,):
        wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", [job])
        (srun,) = (pid for pid in descendants(job.pid) if "tools/srun" in Path(f"/proc/{pid}/cmdline").read_text())
        os.kill(srun, signal.SIGUSR1)
        (text,) = outputs([job], [138])
    assert "stopped  by SIGUSR1; saved after " in text
    assert last(tmp_path)["global_step"] < 300
    assert not list(tmp_path.rglob("hpc_ckpt*"))  # nothing of Lightning's own requeueing
    assert (tmp_path / "requeued").read_text() == "requeue 4711\n"
    with started(command, [environment()], [ROOT]) as (job,):
        (text,) = outputs([job], [0])
    assert "done     300 steps" in text
    assert (tmp_path / "requeued").read_text() == "requeue 4711\n"
    assert same(last(tmp_path)["state_dict"], undisturbed["state_dict"])


@pytest.mark.parametrize(("command", "settings"), [("train", TINY), ("generate", ["manifest=list.csv"])])
def test_a_command_in_a_job_s_script_without_srun_does_not_wait_for_other_tasks(
    run, in_tmp, monkeypatch, command, settings
):
    for name, value in tasks(free_port())[0].items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS")
    with pytest.raises(
        AssertionError, match=r"exit 2[\s\S]*SLURM has given this job 2 tasks, but srun has not started"
    ):
        run(command, *settings)


def test_prepare_is_started_once(run, in_tmp, monkeypatch):
    for name, value in tasks(free_port())[0].items():
        monkeypatch.setenv(name, value)
    with pytest.raises(
        AssertionError, match=r"exit 2[\s\S]*torchrun or srun has started prepare 2 times; start it once"
    ):
        run("prepare", "output=corpus")


def test_the_command_of_the_jobset_is_accepted():
    jobset = yaml.safe_load((ROOT / "scripts" / "clusters" / "jobset.yaml").read_text())
    pod = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    launcher, *options = pod["containers"][0]["command"]
    script = options.index("scripts/train.py")
    assert launcher == "torchrun" and (ROOT / options[script]).is_file()
    parsed = get_args_parser().parse_args(options)
    assert (parsed.nnodes, parsed.nproc_per_node, parsed.max_restarts) == ("2", "8", 3)
    assert parsed.rdzv_endpoint == "wavenet-machines-0-0.wavenet:29500"  # JobSet's name of the first pod
    cfg = composed("train", *options[script + 1 :])
    assert (cfg.dataset.root, cfg.run_dir, cfg.resume) == ("s3://BUCKET/CORPUS", "/runs/NAME", "auto")
    mounted = {each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    assert {"/runs", cfg.preparation.cache_dir} <= mounted


@pytest.mark.slow
def test_a_run_goes_on_with_fewer_machines(tmp_path):
    """Each segment is taken once."""
    command = [sys.executable, *COMMAND, "trainer.max_steps=300"]
    with started(command, tasks(free_port()), [tmp_path] * 2) as processes:
        wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", processes)
        processes[0].send_signal(signal.SIGTERM)
        outputs(processes, [128 + signal.SIGTERM] * 2)
    steps, used = last(tmp_path)["global_step"], last(tmp_path)["SegmentData"]["segments"]
    assert used == 4 * steps
    with started(command, tasks(free_port(), size=1), [tmp_path]) as processes:
        (text,) = outputs(processes, [0])
    assert "run      " in text and " on 1 x cpu" in text
    assert last(tmp_path)["SegmentData"]["segments"] == used + 2 * (300 - steps)
