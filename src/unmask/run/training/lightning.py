"""An interaction monitor as a callback of Lightning, under either of its names."""

from typing import TYPE_CHECKING, Any

from unmask.run.training.monitor import InteractionMonitor


def _parents() -> tuple[type, ...]:
    """The classes that a trainer takes for a callback: `lightning` and `pytorch_lightning` each
    have their own, and which of them the user's trainer comes from is not known."""
    found: list[type] = []
    try:
        from lightning.pytorch import Callback

        found.append(Callback)
    except ModuleNotFoundError:
        pass
    try:
        from pytorch_lightning import Callback as Other

        found.append(Other)
    except ModuleNotFoundError:
        pass
    if not found:
        raise ModuleNotFoundError(
            "This callback needs Lightning, which is not installed. Install it with: "
            "pip install lightning. A loop of your own calls monitor.step(step) instead."
        )
    return tuple(dict.fromkeys(found))


if TYPE_CHECKING:
    from lightning.pytorch import Callback

    class _Callback(Callback): ...

else:
    _Callback = type("_Callback", _parents(), {})


class MonitorCallback(_Callback):
    """Calls an interaction monitor from a Lightning trainer, on the first process alone.

    Steps are the trainer's `global_step`: updates of the parameters. The monitor's model is the
    module that is trained, or a network inside it.

    Args:
        monitor: of the module that is trained.
    """

    def __init__(self, monitor: InteractionMonitor) -> None:
        super().__init__()
        self.monitor = monitor

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Look at the network before the first update."""
        self._step(trainer)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the network if a scheduled step was reached."""
        self._step(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Tell the phases."""
        if trainer.is_global_zero:
            self.monitor.finish()

    def _step(self, trainer: Any) -> None:
        if trainer.is_global_zero:
            self.monitor.step(trainer.global_step)
