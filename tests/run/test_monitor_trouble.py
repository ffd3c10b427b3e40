"""What goes wrong while a training is watched: the training goes on, and the record stays true."""

import copy
import math
import resource
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from unmask import Score, features, log_odds
from unmask.run import InteractionMonitor, Record
from watched import DATA, LABELS, PLAYERS, make, watch

STEPS = range(8)


def lossy(model, monitor_losses, folder=None):
    """A monitor of eight steps of the same network, and what it said."""
    said = []
    monitor = watch(model, losses=monitor_losses, schedule=STEPS, say=said.append, folder=folder)
    return monitor, said


def test_who_interrupts_a_look_may_ask_again():
    model, calls = make(), []
    inner = model.forward

    def stopped_once(x):
        calls.append(len(x))
        if len(calls) == 1:
            raise KeyboardInterrupt
        return inner(x)

    model.forward = stopped_once
    monitor = watch(model)
    with pytest.raises(KeyboardInterrupt):
        monitor.step(0)
    assert all(module.training for module in model.modules())
    assert monitor.step(0).step == 0
    assert monitor.step(0) is None
    assert [snapshot.step for snapshot in monitor.history] == [0]


def test_an_error_at_a_later_look_is_reported_and_the_training_goes_on(tmp_path):
    model, said, memory = make(), [], [True, False, True]

    def score(model, target):
        if not memory[0]:
            raise torch.OutOfMemoryError("tried to allocate 3 GiB.")
        return log_odds(model, target)

    monitor = watch(
        model, score=score, schedule=(0, 2, 5), say=said.append, folder=tmp_path / "run"
    )
    assert monitor.step(0) is not None
    memory.pop(0)
    assert monitor.step(2) is None
    memory.pop(0)
    assert monitor.step(5) is not None
    assert "step      2  skipped: OutOfMemoryError: tried to allocate 3 GiB" in said
    record = Record.read(tmp_path / "run")
    assert record.kept(2).skipped == "OutOfMemoryError: tried to allocate 3 GiB"
    assert [snapshot.step for snapshot in record.history()] == [0, 5]
    assert all(module.training for module in model.modules())


def test_losses_of_other_data_at_a_later_look_are_refused_in_words():
    counts = iter((10, 12, 10))

    def losses(model):
        rows = slice(next(counts))
        loss = functional.cross_entropy(model(DATA[rows]), LABELS[rows], reduction="none")
        return loss, loss

    monitor, said = lossy(make(), losses)
    assert monitor.step(0).train_losses.shape == (10,)
    assert monitor.step(1) is None
    assert "gave 12 numbers of training and 12 of test data, but 10 and 10 at the first" in said[-1]
    assert monitor.step(2).train_losses.shape == (10,)


@pytest.mark.parametrize(
    ("given", "kind"),
    [(torch.tensor(1.0), "a Tensor"), ((1.0,), "a tuple of 1"), (None, "a NoneType")],
)
def test_losses_that_are_no_pair_raise_at_once(given, kind):
    with pytest.raises(TypeError, match=f"gives two tensors.*but gave {kind}. Return train, test"):
        lossy(make(), lambda _: given)[0].step(0)


def test_losses_may_be_numbers():
    found = lossy(make(), lambda _: (0.25, 0.5))[0].step(0)
    assert (found.train_losses.tolist(), found.test_losses.tolist()) == ([0.25], [0.5])


def test_a_loss_that_overflows_once_does_not_hide_the_phases(tmp_path):
    at = iter(STEPS)
    monitor, said = lossy(
        make(), lambda _: (math.nan if next(at) == 3 else 0.5, 1.0), tmp_path / "run"
    )
    for step in STEPS:
        assert monitor.step(step) is not None
    found = monitor.finish()
    assert math.isfinite(found.numbers["switch"])
    assert math.isnan(found.numbers["gap_onset"])
    assert said[-1].startswith("No phases: the mean order neither fell nor rose")  # of one network
    assert len(Record.read(tmp_path / "run").history()) == 8


def test_too_few_checkpoints_are_said():
    said = []
    monitor = watch(make(), say=said.append)
    monitor.step(0)
    assert monitor.finish() is None
    assert "No phases can be told: they show in 6 checkpoints or more, and there are 1." in said


def test_the_record_of_another_training_is_not_taken_for_this_one(tmp_path):
    watch(make(), folder=tmp_path / "run").step(0)
    again = watch(make(seed=1), folder=tmp_path / "run")
    with pytest.raises(ValueError, match=r"recorded with other weights at step 0.*another folder"):
        again.step(0)


def test_a_training_that_does_not_repeat_its_record_is_told_so_once(tmp_path):
    first = make()
    monitor = watch(first, folder=tmp_path / "run")
    for step in (0, 2):
        monitor.step(step)
    said = []
    with torch.no_grad():
        changed = copy.deepcopy(first)
        changed.body[0].weight[3, 1] += 1e-6
    resumed = watch(changed, folder=tmp_path / "run", say=said.append)
    assert resumed.step(2) is None
    assert resumed.step(2) is None
    assert resumed.step(5) is not None
    assert sum("does not repeat that one exactly" in line for line in said) == 1
    silent = []
    same = watch(first, folder=tmp_path / "run", say=silent.append)
    assert same.step(2) is None
    assert len(silent) == 2  # that the record goes on, and what it costs


def test_weights_without_values_are_refused():
    with torch.device("meta"):
        model = nn.Linear(4, 2)
    with pytest.raises(ValueError, match=r"such as 'weight', have no values yet.*Initialise them"):
        watch(model).step(0)
    lazy = nn.Sequential(nn.LazyLinear(2))
    with pytest.raises(ValueError, match="have no values yet"):
        watch(lazy).step(0)
    lazy(DATA)
    assert watch(lazy).step(0) is not None


def test_a_compiled_network_is_not_compiled_for_a_look():
    compiled = []

    def backend(graph, inputs):
        compiled.append(len(inputs))
        return graph.forward

    plain = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))
    model = torch.compile(plain, backend=backend)
    model(DATA)
    before = len(compiled)
    found = watch(model).step(0)
    wanted = watch(copy.deepcopy(plain)).step(0)
    model(DATA)
    assert len(compiled) == before > 0
    assert plain.training
    assert torch.equal(found.terms[0].effects, wanted.terms[0].effects)


def test_a_network_in_several_processes_is_looked_at_inside(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1
    )
    try:
        model = nn.parallel.DistributedDataParallel(make())
        monitor = watch(model)
        assert monitor.model is model.module
        assert monitor.step(0) is not None
        assert model.training
    finally:
        torch.distributed.destroy_process_group()


def test_what_a_full_disk_refused_is_written_at_the_end(tmp_path):
    said = []
    monitor = watch(make(), folder=tmp_path / "run", say=said.append)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    monitor.step(0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # bytes that a file may have
    try:
        monitor.step(2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "The record could not be written" in said[-2]
    assert Record.read(tmp_path / "run").steps() == (0,)
    monitor.finish()
    kept = Record.read(tmp_path / "run").history()
    assert [snapshot.step for snapshot in kept] == [0, 2]
    assert torch.equal(kept[1].terms[3].effects, monitor.history[1].terms[3].effects)


def test_samples_have_titles_and_scores_have_names(tmp_path):
    watch(make(), folder=tmp_path / "run", score=lambda model, y: log_odds(model, y))
    about = Record.read(tmp_path / "run").about
    assert about.titles[1] == f"sample 2, class {int(LABELS[1])}"
    assert about.score == "log-odds of each sample's target"
    titles = ["a", "b", "c", "d", "e"]
    own = lambda model, y: Score(model, lambda output, rows: output[:, y], "height")  # noqa: E731
    watch(make(), folder=tmp_path / "own", titles=titles, score=own)
    about = Record.read(tmp_path / "own").about
    assert (about.titles, about.score) == (tuple(titles), "height")
    with pytest.raises(ValueError, match="There are 5 samples, but 4 titles"):
        watch(make(), titles=titles[:4])


def test_what_does_not_fit_is_refused_before_the_training():
    model = make()
    with pytest.raises(
        ValueError, match=r"baseline of sample 0 has shape \(3,\), but it has shape"
    ):
        InteractionMonitor(model, DATA[:2], LABELS[:2], PLAYERS, torch.zeros(3))
    x = DATA[:2].clone()
    x[1, 2] = math.inf
    with pytest.raises(ValueError, match="Sample 1 holds numbers that are not finite"):
        InteractionMonitor(model, x, LABELS[:2], PLAYERS, torch.zeros(4))
    with pytest.raises(ValueError, match="The baseline of sample 0 holds numbers that are not"):
        InteractionMonitor(model, DATA[:2], LABELS[:2], PLAYERS, torch.full((4,), math.nan))
    with pytest.raises(ValueError, match="Sample 0 has 17 players, but at most 16 can be followed"):
        InteractionMonitor(model, torch.ones(1, 17), [0], features(17), torch.zeros(17))
    if "beartype" not in sys.modules:  # which says so first, in other words
        with pytest.raises(TypeError, match="is the number of its class, but got 'a'"):
            InteractionMonitor(model, DATA[:1], ["a"], PLAYERS, torch.zeros(4))


def ordinary(model, monitor=None, steps=12):
    """A training as they often are: mixed precision, two batches per update, a moving average."""
    torch.manual_seed(3)
    model.body[0].weight.requires_grad_(False)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
    )
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=0.01)
    monitors = () if monitor is None else (monitor(model), monitor(average))
    for one in monitors:
        one.step(0)
    for batch in range(1, 2 * steps + 1):
        rows = torch.randint(64, (16,))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = functional.cross_entropy(model(DATA[rows]), LABELS[rows])
        (loss / 2).backward()
        if batch % 2 == 0:
            optimiser.step()
            optimiser.zero_grad()
            average.update_parameters(model)
        for one in monitors:  # between two batches of one update as well
            one.step(batch // 2)
    return model, average, monitors


def test_an_ordinary_training_is_not_disturbed_by_two_monitors():
    alone, average, _ = ordinary(make())
    watched, kept, monitors = ordinary(make(), watch)
    for one, other in ((alone, watched), (average, kept)):
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name
    for monitor in monitors:
        assert [snapshot.step for snapshot in monitor.history] == [0, 2, 5, 9]
    ends = [monitor.history[-1].terms[0].effects for monitor in monitors]
    assert ends[0].shape != ends[1].shape or not torch.equal(*ends)


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda m: m.half()])
def test_networks_that_are_wrapped_or_of_half_precision_are_watched(wrap):
    plain = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))
    model = wrap(copy.deepcopy(plain))
    found = watch(model).step(0)
    score = log_odds(plain.eval(), int(LABELS[0]))
    whole = found.terms[0](torch.ones(1, 4).bool()).item()
    assert whole == pytest.approx(float(score(DATA[:1]).detach()), abs=5e-3)  # of half precision
    assert model.training
