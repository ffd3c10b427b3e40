"""Small networks and real data, to try methods on.

Each function returns an `Exhibit`: a network, inputs that it was not trained on, and what a
method needs to explain them. `breast_cancer`, `diabetes` and `digits` need nothing but the package
and train in a second. The others read real data from the folder that the environment variable
UNMASK_DATA names; what trains for longer is kept in the folder that UNMASK_CACHE names. Nothing is
trained or read before a function is called.
"""

from unmask.zoo.exhibit import Exhibit
from unmask.zoo.houses import diabetes, houses
from unmask.zoo.images import cifar10, digits, mnist, squeezenet
from unmask.zoo.tables import adult, breast_cancer
from unmask.zoo.texts import sst2, stories

__all__ = [
    "Exhibit",
    "adult",
    "breast_cancer",
    "cifar10",
    "diabetes",
    "digits",
    "houses",
    "mnist",
    "squeezenet",
    "sst2",
    "stories",
]
