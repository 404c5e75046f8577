"""The training hook: what it records is what happened, and a run is gone on with after a crash."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.unit.compute_support import Toy, record_run, toy_task, trainer
from zkai.compute import record as names
from zkai.compute.hook import TrainingHook
from zkai.compute.kept import Run
from zkai.compute.record import verify_chain
from zkai.compute.snapshot import TOP, optimizer_state, sources, statistics, tensor_of
from zkai.errors import InvalidInput
from zkai.merkle.tensor import open_tensors, write_tensors
from zkai.receipt.signer import generate


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "honest"
    record_run(folder)
    return Run(folder)


def load(run: Run, step: int, group: str) -> dict[str, torch.Tensor]:
    return {name: tensor_of(source) for name, source in run.groups(step)[group].items()}


def test_a_step_is_recorded_as_it_happened(run: Run) -> None:
    """The same step, computed here without the hook."""
    program = Toy()
    model = program.model()
    optimizer = program.optimizer(model)
    losses = []
    for step in range(4):
        before = {n: t.detach().clone() for n, t in model.state_dict().items()}
        torch.manual_seed(run.task.seed_of(step))
        generator = torch.get_rng_state()
        batch = program.batch(step)
        loss = program.loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    same = torch.equal
    assert all(same(v, before[n]) for n, v in load(run, 3, names.WEIGHTS_BEFORE).items())
    after = load(run, 3, names.WEIGHTS_AFTER)
    assert all(same(v, model.state_dict()[n]) for n, v in after.items())
    assert all(same(after[n] - before[n], v) for n, v in load(run, 3, names.DELTAS).items())
    gradients = load(run, 3, names.GRADIENTS)
    assert all(same(p.grad, gradients[n]) for n, p in model.named_parameters())
    assert load(run, 3, names.LOSSES)["loss"].tolist() == losses[1:]
    assert all(same(v, batch[n]) for n, v in load(run, 3, names.BATCH).items())
    assert same(load(run, 3, names.RNG)["torch"], generator)
    state = load(run, 3, names.OPTIMIZER_AFTER)
    assert state["group.0.lr"].item() == 0.01
    assert same(state["state.0.weight.exp_avg"], optimizer.state[model[0].weight]["exp_avg"])
    outputs = load(run, 3, names.ACTIVATIONS)
    assert outputs["0"].shape == (8, 16)
    assert outputs["3"].shape == (8, 3)


def test_statistics_are_numpys(run: Run) -> None:
    gradients, found = load(run, 3, names.GRADIENTS), load(run, 3, names.STATISTICS)
    for name, gradient in gradients.items():
        flat = gradient.double().numpy().reshape(-1)
        expected = [flat.mean(), flat.std(), flat.min(), flat.max(), np.linalg.norm(flat)]
        assert np.allclose(found[f"{name}.moments"].numpy(), expected, rtol=1e-5, atol=1e-8)
        places = np.sort(np.argsort(-abs(flat), kind="stable")[:TOP])
        assert found[f"{name}.top_places"].tolist() == places.tolist()
        assert (found[f"{name}.top"].double().numpy() == flat[places]).all()
    half = statistics({"w": torch.linspace(-1, 1, 9).to(torch.bfloat16)})
    assert half["w.moments"][2:4].tolist() == [-1, 1]
    with pytest.raises(InvalidInput, match="real values"):
        statistics({"w": torch.ones(2, dtype=torch.int32)})


def test_a_run_cut_off_is_gone_on_with_bit_for_bit(run: Run, tmp_path: Path) -> None:
    record_run(tmp_path / "run", steps=5, end=False)
    cut = Run(tmp_path / "run")
    assert cut.steps() == [0, 3]
    # What a crash leaves between two files.
    (cut.folder / "kept" / f"{6:016d}.safetensors").write_bytes(b"half")
    (cut.folder / "records" / ".0000000000000006.json.x").write_bytes(b"")
    record_run(tmp_path / "run")
    assert [r.groups for r in cut.records()] == [r.groups for r in run.records()]
    verify_chain(cut.records(), cut.task)
    assert not [p for p in (cut.folder / "records").iterdir() if p.name.startswith(".")]
    with pytest.raises(InvalidInput, match="has ended"):
        record_run(tmp_path / "run")


def test_another_key_task_or_process_does_not_go_on(tmp_path: Path) -> None:
    record_run(tmp_path / "run", steps=2, end=False)
    model = Toy().model()
    optimizer, task = Toy().optimizer(model), toy_task()
    with pytest.raises(InvalidInput, match="another trainer"):
        TrainingHook(model, optimizer, tmp_path / "run", task, generate())
    other = dataclasses.replace(task, every=7)
    with pytest.raises(InvalidInput, match="another task"):
        TrainingHook(model, optimizer, tmp_path / "run", other, trainer())
    with torch.no_grad():
        model[0].bias += 1
    with pytest.raises(InvalidInput, match="does not start from"):
        TrainingHook(model, optimizer, tmp_path / "new", task, trainer())
    writer = Run(tmp_path / "run", writable=True)
    with pytest.raises(InvalidInput, match="another process writes"):
        TrainingHook(model, optimizer, tmp_path / "run", task, trainer())
    writer.close()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(InvalidInput, match="holds other files"):
        Run.create(tmp_path / "full", task)


def test_kept_tensors_are_bounded_and_private(run: Run, tmp_path: Path) -> None:
    size = run.kept_path(3).stat().st_size
    program = Toy()
    model = program.model()
    optimizer = program.optimizer(model)
    hook = TrainingHook(
        model, optimizer, tmp_path / "run", toy_task(), trainer(), keep_bytes=2 * size
    )
    for step in range(10):
        loss = program.loss(model, batch := program.batch(step))
        optimizer.zero_grad()
        loss.backward()
        hook.observe(loss, batch)
        optimizer.step()
    hook.close()
    found = Run(tmp_path / "run")
    assert found.steps() == [0, 3, 6, 9, 10]
    assert found.kept_steps() == [9, 10] or found.kept_steps() == [6, 9, 10]
    assert sum(found.kept_path(s).stat().st_size for s in found.kept_steps()) <= 2 * size
    with pytest.raises(InvalidInput, match="not kept"):
        found.groups(0)
    for path in (found.folder, *found.folder.rglob("*")):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    with pytest.raises(InvalidInput, match="bytes to keep"):
        record_small(tmp_path / "small")


def record_small(folder: Path) -> None:
    program = Toy()
    model = program.model()
    optimizer = program.optimizer(model)
    hook = TrainingHook(model, optimizer, folder, toy_task(), trainer(), keep_bytes=100)
    loss = program.loss(model, batch := program.batch(0))
    loss.backward()
    hook.observe(loss, batch)
    optimizer.step()
    hook.close()


def test_wrong_use_is_named(tmp_path: Path) -> None:
    program = Toy()
    model = program.model()
    optimizer = program.optimizer(model)
    with pytest.raises(InvalidInput, match="no module 'block'"):
        TrainingHook(model, optimizer, tmp_path, toy_task(), trainer(), activations=["block"])
    hook = TrainingHook(model, optimizer, tmp_path / "run", toy_task(), trainer())
    batch = program.batch(0)
    loss = program.loss(model, batch)
    loss.backward()
    with pytest.raises(InvalidInput, match="observe was not called"):
        optimizer.step()
    with pytest.raises(InvalidInput, match="one value"):
        hook.observe(torch.ones(2), batch)
    for odd in ({}, {"x": [1, 2]}):
        with pytest.raises(InvalidInput, match="at least one tensor"):
            hook.observe(loss, odd)
    hook.abandon()
    # Let go: the optimizer is its own again.
    optimizer.step()
    hook = TrainingHook(program.model(), optimizer, tmp_path / "run", toy_task(), trainer())
    with pytest.raises(InvalidInput, match="not the model's"):
        optimizer_state(hook.model, optimizer)
    hook.abandon()


def test_a_block_closes_the_hook_or_lets_go(tmp_path: Path) -> None:
    program = Toy()

    def attempt(breaks: bool) -> list[int]:
        model = program.model()
        optimizer = program.optimizer(model)
        with TrainingHook(model, optimizer, tmp_path / "run", toy_task(), trainer()) as hook:
            for step in range(hook.step, hook.step + 2):
                loss = program.loss(model, batch := program.batch(step))
                optimizer.zero_grad()
                loss.backward()
                hook.observe(loss, batch)
                optimizer.step()
            if breaks:
                raise KeyError("the loader broke")
        return Run(tmp_path / "run").steps()

    with pytest.raises(KeyError, match="loader"):
        attempt(True)
    assert not torch.are_deterministic_algorithms_enabled()
    # Step 1 was not recorded, and is trained again.
    assert attempt(False) == [0, 3]


def test_sources_are_read_back_in_every_type(tmp_path: Path) -> None:
    tensors = {
        "half": torch.linspace(-3, 3, 7).to(torch.bfloat16),
        "turned": torch.arange(6.0).reshape(2, 3).t(),
        "none": torch.zeros(0, 3),
        "flags": torch.tensor([True, False]),
        "eight": torch.ones(3).to(torch.float8_e4m3fn),
        "number": torch.tensor(5),
    }
    write_tensors(tmp_path / "t.safetensors", sources(tensors, "t"), {"format": "test"})
    for name, source in open_tensors(tmp_path / "t.safetensors").items():
        found = tensor_of(source)
        assert found.dtype == tensors[name].dtype
        assert found.shape == tensors[name].shape
        assert bytes(source.read(0, source.head.total)) == bytes(
            tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy()
        )
    library = load_file(tmp_path / "t.safetensors")
    assert torch.equal(library["turned"], tensors["turned"])
    assert torch.equal(library["half"], tensors["half"])
    complex_ = sources({"c": torch.ones(1, dtype=torch.complex128)}, "t")
    with pytest.raises(InvalidInput, match="complex128"):
        write_tensors(tmp_path / "c.safetensors", complex_, {})
