"""How long, how much memory, with which settings: said before a training starts, from a probe on this machine."""

from semiseg.planning.plan import Plan, plan
from semiseg.planning.settings import Setting

__all__ = ["Plan", "Setting", "plan"]
