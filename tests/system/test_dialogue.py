"""The scripts of tests/dialogue that ask only for what a real daemon shows, played against it."""
import pathlib

import dialogue
import topology
from daemon import Mired
from world import TOP, check, marked

SCRIPTS = TOP / "tests" / "dialogue"
