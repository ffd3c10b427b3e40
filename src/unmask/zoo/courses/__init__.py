"""Trainings that can be watched, from the first step on.

Each function returns a `Course`: a network to train, data of which a tenth has wrong labels, and
samples on which it is watched. `taught` trains it and stops at every checkpoint; `watched` explains
the samples there, and keeps what it found in the folder that UNMASK_CACHE names. `digits` and
`breast_cancer` need nothing but the package and take seconds; the others read real data from the
folder that UNMASK_DATA names, and take minutes.
"""

from unmask.zoo.courses.clouds import pointclouds
from unmask.zoo.courses.course import Course, Sample, Settings
from unmask.zoo.courses.images import cifar10, digits, mnist
from unmask.zoo.courses.tables import adult, breast_cancer
from unmask.zoo.courses.teaching import Checkpoint, taught
from unmask.zoo.courses.texts import sst2
from unmask.zoo.courses.watching import explained, finished, watched

__all__ = [
    "Checkpoint",
    "Course",
    "Sample",
    "Settings",
    "adult",
    "breast_cancer",
    "cifar10",
    "digits",
    "explained",
    "finished",
    "mnist",
    "pointclouds",
    "sst2",
    "taught",
    "watched",
]
