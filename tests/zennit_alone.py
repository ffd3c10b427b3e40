"""zennit without torchvision, of which it only wants the names of some networks."""

import importlib
import sys
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

NAMES = {
    "torchvision": (),
    "torchvision.models": (),
    "torchvision.models.resnet": ("ResNet", "Bottleneck", "BasicBlock"),
    "torchvision.models.vgg": ("VGG",),
}
ROOMS = ("attribution", "canonizers", "composites", "layer", "rules")


@contextmanager
def alone():
    """Something that bears torchvision's name, gone again in the end."""
    before = {name: sys.modules.get(name) for name in NAMES}
    for name, classes in NAMES.items():
        sys.modules[name] = ModuleType(name)
        for one in classes:
            setattr(sys.modules[name], one, type(one, (), {}))
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def zennit():
    """The rooms of zennit; what stands in for torchvision is gone again when it is imported."""
    with alone():
        return SimpleNamespace(
            **{room: importlib.import_module(f"zennit.{room}") for room in ROOMS}
        )
