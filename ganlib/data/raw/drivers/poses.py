"""The ten ways to sit at a wheel, one for each class, and how they change from frame to frame."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from ganlib.data.raw.drivers.brush import Point
from ganlib.data.raw.drivers.subjects import random_for

Thing = Literal["phone", "cup", "brush"]


class Pose(NamedTuple):
    """Places of a driver's parts, in pixels of the scene.

    The driver sits on the left and looks to the right.
    """

    elbow: Point
    hand: Point
    """Elbow and hand of the right arm, which is near the camera."""
    far_elbow: Point = (345, 292)
    far_hand: Point = (452, 232)
    holds: Thing | None = None
    """The thing in the right hand."""
    far_holds: Thing | None = None
    head: Point = (222, 122)
    nod: float = 0.0
    """Radians; the head is lowered by positive ones."""
    facing: Literal["road", "camera", "behind"] = "road"
    lean: float = 0.0
    """Shift of the shoulders towards the wheel, in pixels."""
    mirror: bool = False
    """Whether the sun visor's mirror is down."""


_ON_WHEEL: tuple[Point, Point] = ((290, 352), (410, 300))

POSES: tuple[Pose, ...] = (
    Pose(*_ON_WHEEL),
    Pose((262, 372), (352, 322), holds="phone", nod=0.32, head=(226, 128)),
    Pose((284, 322), (252, 142), holds="phone", nod=0.05),
    Pose(*_ON_WHEEL, far_elbow=(330, 300), far_hand=(384, 206), far_holds="phone", nod=0.2, head=(226, 126)),
    Pose(*_ON_WHEEL, far_elbow=(344, 262), far_hand=(270, 134), far_holds="phone"),
    Pose((350, 372), (556, 336), lean=26, head=(246, 132), nod=0.18),
    Pose((316, 300), (300, 168), holds="cup", nod=-0.22, head=(218, 122)),
    Pose((112, 322), (22, 236), facing="behind", lean=-20, head=(206, 122)),
    Pose((316, 176), (236, 56), holds="brush", nod=-0.05, mirror=True),
    Pose((282, 366), (352, 268), facing="camera", head=(228, 124)),
)
"""The poses of c0 to c9; see :data:`~ganlib.data.labelling.statefarm.STATEFARM_CLASSES`."""


def pose_at(seed: int, subject: str, label: int, frame: int) -> Pose:
    """The pose of a subject in a frame: near the class's, drifting slowly, as in a video.

    Args:
        seed: Of the dataset.
        subject: Name of the subject.
        label: Class, 0 to 9.
        frame: Number of the frame in the subject's video of this class, from 0.
    """
    base = POSES[label]
    random = random_for(seed, "pose", subject, label)
    spread = {"elbow": 10.0, "hand": 6.0, "far_elbow": 7.0, "far_hand": 5.0, "head": 5.0}
    moved: dict[str, Point] = {}
    for part, pixels in spread.items():
        x, y = getattr(base, part)
        own = random.normal(0, pixels / 2, 2)
        periods, phases = random.uniform(40, 160, 2), random.uniform(0, 2 * math.pi, 2)
        drift = [pixels * math.sin(2 * math.pi * frame / periods[i] + phases[i]) for i in (0, 1)]
        moved[part] = (float(x + own[0] + drift[0]), float(y + own[1] + drift[1]))
    # Hands that touch the head move with it.
    head_x, head_y = (moved["head"][i] - base.head[i] for i in (0, 1))
    for part in ("hand", "far_hand"):
        x, y = getattr(base, part)
        if y < 190:
            moved[part] = (x + head_x + 0.3 * (moved[part][0] - x), y + head_y + 0.3 * (moved[part][1] - y))
    nod = base.nod + random.normal(0, 0.04) + 0.05 * math.sin(frame / 17 + random.uniform(0, 6))
    return base._replace(
        elbow=moved["elbow"],
        hand=moved["hand"],
        far_elbow=moved["far_elbow"],
        far_hand=moved["far_hand"],
        head=moved["head"],
        nod=float(nod),
        lean=base.lean + float(random.normal(0, 4)),
    )
