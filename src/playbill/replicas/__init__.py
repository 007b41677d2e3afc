"""Replicas: one model in many processes, of this machine or of a Ray cluster, behind one engine.

A replica holds a whole Model: it renders, computes and cleans. The caller's side holds a `ReplicaEngine`, which hands
out turns and takes answers, and a `ReplicatedModel` around it, which is used as any other Model. Knows no run.
"""

from playbill.replicas.engine import ReplicaEngine
from playbill.replicas.local import LocalPlaces
from playbill.replicas.model import ReplicatedModel
from playbill.replicas.places import Event, Place, Places, ReplicaStatus
from playbill.replicas.wire import Answer, Ask, LoadOrder, PathPortrait, Portrait, ProcessorPortrait

__all__ = [
    "Answer",
    "Ask",
    "Event",
    "LoadOrder",
    "LocalPlaces",
    "PathPortrait",
    "Place",
    "Places",
    "Portrait",
    "ProcessorPortrait",
    "ReplicaEngine",
    "ReplicaStatus",
    "ReplicatedModel",
]
