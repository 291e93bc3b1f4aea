import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.errors import PgvError
from pgv_jax.learner.place import Options, Place, place_of

FLAGS = Options(coordinator="a:1234", processes=4, process_id=2)
SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_NODELIST": "n[03-05,9],m1",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "2(x4)",
}
JOB = {
    "JAX_COORDINATOR_ADDRESS": "run-0.run:5000",
    "JAX_NUM_PROCESSES": "3",
    "JOB_COMPLETION_INDEX": "2",
}


def test_a_process_without_a_word_is_alone():
    assert place_of(Options(), {}) is None


def test_an_index_alone_is_no_run():
    assert place_of(Options(), {"JOB_COMPLETION_INDEX": "3"}) is None


def test_flags_say_it_all_and_come_first():
    assert place_of(FLAGS, {}) == Place("a:1234", 2, 4)
    assert place_of(FLAGS, JOB | SLURM) == Place("a:1234", 2, 4)


def test_an_indexed_job_says_it_in_its_environment():
    assert place_of(Options(), JOB) == Place("run-0.run:5000", 2, 3)
    assert place_of(Options(), JOB | {"JAX_PROCESS_ID": "1"}) == Place("run-0.run:5000", 1, 3)


def test_one_process_overrides_any_environment():
    assert place_of(Options(processes=1), JOB | SLURM) is None
    assert place_of(Options(), JOB | {"JAX_NUM_PROCESSES": "1"}) is None


def test_a_slurm_step_meets_on_its_first_node():
    place = place_of(Options(), SLURM)
    assert place is not None
    assert (place.index, place.count, place.devices) == (5, 8, None)
    host, port = place.address
    assert host == "n03" and 60999 < port < 65534
    assert place_of(Options(coordinator="n04:999"), SLURM) == Place("n04:999", 5, 8)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node1", "node1"),
        ("node1,node2", "node1"),
        ("a-b[7,9-11]", "a-b7"),
        ("rack[1-2]-ib,x", "rack1-ib"),
    ],
)
def test_first_node_of_a_list(nodes: str, first: str):
    place = place_of(Options(), SLURM | {"SLURM_STEP_NODELIST": nodes})
    assert place is not None and place.address[0] == first


def test_a_batch_script_and_a_step_of_one_task_are_alone():
    batch = {k: v for k, v in SLURM.items() if not k.startswith("SLURM_STEP")}
    assert place_of(Options(), batch | {"SLURM_NTASKS": "8"}) is None
    assert place_of(Options(), SLURM | {"SLURM_STEP_NUM_TASKS": "1"}) is None


@given(st.integers(0, 10**9))
def test_ports_of_jobs_that_follow_each_other_do_not_meet(job: int):
    ports = set()
    for number in (job, job + 1):
        place = place_of(Options(), SLURM | {"SLURM_JOB_ID": str(number)})
        assert place is not None
        ports |= {place.address[1], place.address[1] + 1}
    assert len(ports) == 4


def test_tasks_of_a_node_share_its_gpus_unless_slurm_bound_them():
    def devices(**environ: str):
        place = place_of(Options(), SLURM | environ)
        assert place is not None
        return place.devices

    assert devices(CUDA_VISIBLE_DEVICES="0,1,2,3") == (2, 3)
    assert devices(CUDA_VISIBLE_DEVICES="0,1", SLURM_LOCALID="0") == (0,)
    assert devices(CUDA_VISIBLE_DEVICES="3") is None
    assert devices(CUDA_VISIBLE_DEVICES="0,1", SLURM_STEP_TASKS_PER_NODE="1(x8)") is None
    with pytest.raises(PgvError, match="3 tasks share a node with 2 GPUs"):
        devices(CUDA_VISIBLE_DEVICES="0,1", SLURM_STEP_TASKS_PER_NODE="3")


@pytest.mark.parametrize(
    ("options", "environ", "words"),
    [
        (Options(coordinator="a:1"), {}, r"--processes \(or JAX_NUM_PROCESSES\) and --process-id"),
        (Options(processes=2, process_id=0), {}, r"add --coordinator \(or JAX_COORDINATOR_ADDR"),
        (Options(process_id=0), {}, "--coordinator .* and --processes"),
        (Options(), {"JAX_NUM_PROCESSES": "2"}, "--processes 1 to run this process alone"),
        (Options("a:1", 2, 2), {}, "number 2 is not one of 2 processes.*--process-id 0 to 1"),
        (Options("a:1", 2, -1), {}, "number -1"),
        (Options("a", 2, 0), {}, "address is 'a'; write process 0's HOST:PORT"),
        (Options("a:65535", 2, 0), {}, "below 65535"),
        (Options("a:b", 2, 0), {}, "'a:b'"),
        (Options(), JOB | {"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES.* 'two'.* whole number"),
        (Options(worker_timeout=0), {}, "time-outs must be positive"),
    ],
)
def test_what_does_not_fit_is_said(options: Options, environ: dict[str, str], words: str):
    with pytest.raises(PgvError, match=words):
        place_of(options, environ)


def test_an_address_may_be_ipv6():
    assert Place("[::1]:80", 0, 2).address == ("::1", 80)
