"""Ranks of a job: what launchers say of them, their GPUs, and one process alone. test_ranks.py runs several."""

import pytest
import torch
from torch._subclasses import FakeTensorMode

from xmcgan.runtime import distributed
from xmcgan.runtime.distributed import Launch, launch, own_device
from xmcgan.training.state import check_batch_size


def test_single_process_functions_are_the_identity():
    rows = torch.randn(3, 2, requires_grad=True)
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    assert distributed.gather(rows) is rows
    assert distributed.sum_over_ranks(rows) is rows
    assert distributed.gather_objects("it") == ["it"]
    assert distributed.on_main(max, 1, 2) == 2
    assert [distributed.any_rank(here) for here in (True, False)] == [True, False]
    distributed.barrier()
    with distributed.process_group(torch.device("cpu")) as device:
        assert (device.type, distributed.world_size()) == ("cpu", 1)


def test_local_negatives_need_two_examples_a_rank(config):
    from dataclasses import replace

    local = replace(config, losses=replace(config.losses, negatives="local"))
    with pytest.raises(ValueError, match=r"training\.batch_size is 4, one example for each of 4 ranks.*at least 8"):
        check_batch_size(local, 4)
    check_batch_size(local, 2)
    check_batch_size(config, 4)
    hinge = replace(local, losses=replace(local.losses, sentence=0.0, word=0.0, image_discriminator=0.0))
    check_batch_size(hinge, 4)


# -------------------------------------------------------------------------------------------------------- launchers


TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "node1", "MASTER_PORT": "29400"}
SRUN = {
    **{"SLURM_PROCID": "5", "SLURM_NTASKS": "32", "SLURM_LOCALID": "1", "SLURM_STEP_NUM_TASKS": "16"},
    **{"MASTER_ADDR": "node1"},
}


def without(environment: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in environment.items() if key != name}


def test_launch_reads_torchrun_and_srun_variables():
    assert launch(TORCHRUN) == Launch(rank=3, world_size=8, local_rank=1, address=None)
    assert launch(SRUN) == Launch(rank=5, world_size=16, local_rank=1, address="tcp://node1:29500")
    assert launch({**SRUN, "MASTER_PORT": "1234"}).address == "tcp://node1:1234"
    assert launch({**SRUN, **TORCHRUN}) == launch(TORCHRUN)  # srun starts torchrun
    assert launch({}) is None
    interactive = {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0", "SLURM_STEP_NUM_TASKS": "1"}
    assert launch(interactive).world_size == 1
    assert launch(without(SRUN, "SLURM_STEP_NUM_TASKS")) is None  # the script of sbatch itself


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (without(TORCHRUN, "LOCAL_RANK"), r"the environment variable LOCAL_RANK is ''"),
        ({**TORCHRUN, "WORLD_SIZE": "many"}, r"WORLD_SIZE is 'many'"),
        (without(SRUN, "MASTER_ADDR"), r"MASTER_ADDR is not set; .*scontrol show hostnames"),
        (without(SRUN, "SLURM_LOCALID"), r"SLURM_LOCALID is ''"),
        ({**SRUN, "MASTER_PORT": "http"}, r"MASTER_PORT is 'http'"),
    ],
)
def test_missing_launcher_variable_is_named(environment, said):
    with pytest.raises(ValueError, match=said):
        launch(environment)


def test_each_rank_uses_its_own_gpu(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    third = launch(TORCHRUN)
    assert own_device(torch.device("cuda"), third) == torch.device("cuda:1")
    assert own_device(torch.device("cpu"), third) == torch.device("cpu")
    assert taken == [1]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert own_device(torch.device("cuda"), launch(SRUN)) == torch.device("cuda:0")  # --gpus-per-task=1
    with pytest.raises(ValueError, match=r"rank 3 needs GPU 1 of its machine, which has 1 GPUs"):
        own_device(torch.device("cuda"), third)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"training\.device is cuda:0, but there are 8 ranks"):
        own_device(torch.device("cuda:0"), third)
    with pytest.raises(ValueError, match=r"rank 3 needs GPU 2 of its machine, which has 2 GPUs"):
        own_device(torch.device("cuda"), third._replace(local_rank=2))


def test_the_compiler_knows_the_shapes_of_what_ranks_exchange(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 4)
    with FakeTensorMode():
        rows = torch.empty(8, 3)
        assert distributed.all_reduce(rows).shape == (8, 3)
        assert distributed.all_gather(rows).shape == (32, 3)
        assert distributed.reduce_scatter(rows).shape == (2, 3)


def test_ranks_that_have_joined_do_not_join_again(monkeypatch):
    """A training inside a process group that exists already."""
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **__: pytest.fail("joined again"))
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: pytest.fail("left the other's group"))
    with distributed.process_group(torch.device("cpu")) as device:
        assert device == torch.device("cpu")


def test_out_of_memory_is_not_reported_as_a_lost_rank():
    for own in (torch.OutOfMemoryError("CUDA out of memory"), torch.AcceleratorError("an illegal access")):
        with pytest.raises(type(own), match=str(own)), distributed.detect_lost_ranks():
            raise own
    said = r"another rank has ended or does not answer \(Connection closed"
    with pytest.raises(distributed.RankLost, match=said), distributed.detect_lost_ranks():
        raise RuntimeError("[gloo/x.cc:12] Connection closed by peer. Advice")
