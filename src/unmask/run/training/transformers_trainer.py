"""An interaction monitor as a callback of the trainer of transformers."""

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from unmask.run.training.monitor import InteractionMonitor
from unmask.score import Score, log_odds


class MonitorCallback(TrainerCallback):
    """Calls an interaction monitor from a trainer of transformers, on the first process alone.

    Steps are the trainer's `global_step`: updates of the parameters. Models of transformers return
    an object in which the logits are: make the monitor with `score=log_odds_of_logits`.

    Args:
        monitor: of the model that is trained.
    """

    def __init__(self, monitor: InteractionMonitor) -> None:
        self.monitor = monitor

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Look at the network before the first update."""
        self._step(state)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Look at the network if a scheduled step was reached."""
        self._step(state)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Tell the phases."""
        if state.is_world_process_zero:
            self.monitor.finish()

    def _step(self, state: TrainerState) -> None:
        if state.is_world_process_zero:
            self.monitor.step(state.global_step)


def log_odds_of_logits(model: Any, target: int) -> Score:
    """The log-odds of a class, of a model that returns its logits inside an object.

    Args:
        model: of transformers, which classifies.
        target: the class.
    """
    return log_odds(lambda x: model(x).logits, target)
