"""The monitor inside the trainers of Lightning and of transformers, the real packages."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from unmask import features, tokens
from unmask.run import InteractionMonitor, Record

DATA = torch.randn(48, 4, generator=torch.Generator().manual_seed(0))
LABELS = (DATA[:, 0] > 0).long()
STEPS = (0, 2, 5, 9)

pytestmark = pytest.mark.filterwarnings("ignore")  # these packages warn of themselves


def lightning_of(name):
    """The package that goes by a name, and a module of it to train."""
    package = pytest.importorskip(name)

    class Small(package.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(1)
            self.net = nn.Sequential(
                *(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2))
            )

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, _):
            x, y = batch
            return functional.cross_entropy(self(x), y)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)

    return package, Small()


def fitted(package, module, folder, callbacks):
    """The module after two epochs of six steps, in an order that is drawn."""
    torch.manual_seed(2)
    trainer = package.Trainer(
        max_epochs=2,
        callbacks=callbacks,
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(TensorDataset(DATA, LABELS), batch_size=8, shuffle=True))
    return module.state_dict(), torch.get_rng_state()


@pytest.mark.parametrize("name", ["lightning.pytorch", "pytorch_lightning"])
def test_a_lightning_training_is_watched_and_not_disturbed(name, tmp_path):
    package, alone = lightning_of(name)
    from unmask.run.training.lightning import MonitorCallback

    weights, drawn = fitted(package, alone, tmp_path, [])
    _, module = lightning_of(name)
    said = []
    monitor = InteractionMonitor(
        *(module, DATA[:4], LABELS[:4], features(4), torch.zeros(4)),
        folder=tmp_path / "run",
        schedule=STEPS,
        say=said.append,
    )
    watched, drawn_then = fitted(package, module, tmp_path, [MonitorCallback(monitor)])
    for key in weights:
        assert torch.equal(weights[key], watched[key]), key
    assert torch.equal(drawn, drawn_then)
    record = Record.read(tmp_path / "run")
    assert record.steps() == STEPS
    assert (tmp_path / "run" / "terms").is_dir()
    assert said[-1].startswith("Watching took")


@pytest.mark.slow
def test_a_trainer_of_transformers_is_watched_and_not_disturbed(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from unmask.run.training.transformers_trainer import MonitorCallback, log_odds_of_logits

    ids = torch.randint(5, 30, (32, 5), generator=torch.Generator().manual_seed(0))
    rows = [{"input_ids": row, "labels": int(row[0] > 15)} for row in ids]
    labels = [row["labels"] for row in rows]

    def model():
        torch.manual_seed(1)
        return transformers.BertForSequenceClassification(
            transformers.BertConfig(
                vocab_size=30,
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=16,
                max_position_embeddings=8,
            )
        )

    def trained(network, callbacks):
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path / "out"),
            max_steps=10,
            per_device_train_batch_size=8,
            report_to=[],
            save_strategy="no",
            use_cpu=True,
            disable_tqdm=True,
            seed=4,
        )
        trainer = transformers.Trainer(
            model=network, args=arguments, train_dataset=rows, callbacks=callbacks
        )
        trainer.train()
        return network.state_dict()

    alone = trained(model(), [])
    network, said = model(), []
    monitor = InteractionMonitor(
        *(network, ids[:3], labels[:3], tokens(5), torch.full((5,), 3)),
        folder=tmp_path / "run",
        schedule=STEPS,
        score=log_odds_of_logits,
        say=said.append,
    )
    watched = trained(network, [MonitorCallback(monitor)])
    for key in alone:
        assert torch.equal(alone[key], watched[key]), key
    assert Record.read(tmp_path / "run").steps() == STEPS
    assert said[-1].startswith("Watching took")
