"""Heatmaps and part affinity fields of bodies to people, as OpenPose assembles them (Cao et al., 2019, sections 3.2 to 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from modules.images.preprocessors.poses import BODY_POINTS, Points

_PEAK, _ALONG = 0.1, 0.05  # of a smooth heatmap; of the field in the direction of a limb
_SAMPLES = 10  # points along a limb
_SHARE_ALONG = 0.8  # more than this share of them lie in its field
_MIN_POINTS, _MIN_SCORE = 4, 0.4  # of a person; the score is the mean of its points
_SIGMA, _SIGMA_SIDE = 3.0, 25
# Start and end of each limb and its field's first channel, in the order in which people grow. The last two lead from
# shoulders to ears; they only join what is a person already.
_LIMBS = (
    (1, 2, 12),
    (1, 5, 20),
    (2, 3, 14),
    (3, 4, 16),
    (5, 6, 22),
    (6, 7, 24),
    (1, 8, 0),
    (8, 9, 2),
    (9, 10, 4),
    (1, 11, 6),
    (11, 12, 8),
    (12, 13, 10),
    (1, 0, 28),
    (0, 14, 30),
    (14, 16, 34),
    (0, 15, 32),
    (15, 17, 36),
    (2, 16, 18),
    (5, 17, 26),
)
_GROWING = 17

Maps = NDArray[np.float32]


class Peaks(NamedTuple):
    """Where one point of bodies was found.

    Args:
        places: int [peaks, 2]: x and y in pixels.
        scores: float [peaks]: the heatmap there.
    """

    places: NDArray[np.int64]
    scores: NDArray[np.float64]


class _Connection(NamedTuple):
    """A limb: which peaks of its points it joins."""

    start: int
    end: int
    score: float


@dataclass
class _Person:
    """A person while it is put together: its peaks by their points."""

    peaks: dict[int, int]
    score: float
    count: int = 2

    def set(self, point: int, peak: int, score: float) -> None:
        self.peaks[point] = peak
        self.score += score
        self.count += 1


def smooth(heatmap: Maps) -> Maps:
    """Return a heatmap without noise: a Gaussian of four standard deviations, mirrored at the border."""
    size = (_SIGMA_SIDE, _SIGMA_SIDE)
    blurred = cv2.GaussianBlur(heatmap, size, _SIGMA, borderType=cv2.BORDER_REFLECT)
    return np.asarray(blurred, np.float32)


def find_peaks(heatmap: Maps) -> Peaks:
    """Return the places of a heatmap, [height, width], that are higher than their four neighbours."""
    flat = np.pad(smooth(heatmap), 1)
    middle = flat[1:-1, 1:-1]
    is_peak = middle > _PEAK
    for neighbour in (flat[:-2, 1:-1], flat[2:, 1:-1], flat[1:-1, :-2], flat[1:-1, 2:]):
        is_peak &= middle >= neighbour
    rows, columns = np.nonzero(is_peak)
    return Peaks(np.stack((columns, rows), 1), heatmap[rows, columns].astype(np.float64))


def connect(field: Maps, starts: Peaks, ends: Peaks) -> list[_Connection]:
    """Return the limbs between two kinds of points; each point has one at most.

    Args:
        field: Part affinity field of the limb, [2, height, width]: its direction.
        starts: Peaks of its first point.
        ends: Of its second one.
    """
    if not len(starts.places) or not len(ends.places):
        return []
    first, last = starts.places[:, None], ends.places[None]
    across: NDArray[np.float64] = (last - first).astype(np.float64)
    lengths = np.maximum(np.linalg.norm(across, axis=2), 0.001)
    directions = across / lengths[:, :, None]
    points = np.rint(np.linspace(first, last, _SAMPLES)).astype(np.int64)
    along = field[:, points[..., 1], points[..., 0]]  # [2, samples, starts, ends]
    strengths = np.einsum("ksij,ijk->ijs", along, directions)
    is_in_field = (strengths > _ALONG).sum(2) > _SHARE_ALONG * _SAMPLES
    # Limbs longer than half of the picture's height lose some of their score.
    scores = strengths.mean(2) + np.minimum(0.5 * field.shape[1] / lengths - 1, 0)
    pairs = np.argwhere(is_in_field & (scores > 0))
    order = np.argsort(-scores[pairs[:, 0], pairs[:, 1]], kind="stable")
    found: list[_Connection] = []
    for start, end in pairs[order].tolist():
        if all(start != other.start and end != other.end for other in found):
            found.append(_Connection(start, end, float(scores[start, end])))
    return found


def assemble_people(fields: Maps, heatmaps: Maps) -> list[Points]:
    """Return the points of each person's body, in pixels.

    Args:
        fields: Part affinity fields, [38, height, width].
        heatmaps: Of the points and the background, [19, height, width].
    """
    peaks = [find_peaks(heatmap) for heatmap in heatmaps[:BODY_POINTS]]
    people: list[_Person] = []
    for number, (start, end, channel) in enumerate(_LIMBS):
        limbs = connect(fields[channel : channel + 2], peaks[start], peaks[end])
        scores = peaks[start].scores, peaks[end].scores
        for limb in limbs:
            _add_limb(people, (start, end), limb, scores, may_begin=number < _GROWING)
    kept = [
        person
        for person in people
        if person.count >= _MIN_POINTS and person.score / person.count >= _MIN_SCORE
    ]
    return [_to_points(person, peaks) for person in kept]


def _add_limb(
    people: list[_Person],
    points: tuple[int, int],
    limb: _Connection,
    scores: tuple[NDArray[np.float64], NDArray[np.float64]],
    *,
    may_begin: bool,
) -> None:
    """Give a limb to the person that has one of its ends, join two persons by it, or begin one with it."""
    start, end = points
    holders = [
        person
        for person in people
        if person.peaks.get(start) == limb.start or person.peaks.get(end) == limb.end
    ]
    gain = float(scores[1][limb.end]) + limb.score
    if len(holders) > 1:
        first, second = holders[:2]
        if first.peaks.keys().isdisjoint(second.peaks):
            first.peaks.update(second.peaks)
            first.score += second.score + limb.score
            first.count += second.count
            people[:] = [person for person in people if person is not second]
        else:
            first.set(end, limb.end, gain)
    elif holders:
        if holders[0].peaks.get(end) != limb.end:
            holders[0].set(end, limb.end, gain)
    elif may_begin:
        peaks = {start: limb.start, end: limb.end}
        people.append(_Person(peaks, float(scores[0][limb.start]) + gain))


def _to_points(person: _Person, peaks: Sequence[Peaks]) -> Points:
    places = [
        peaks[point].places[person.peaks[point]] if point in person.peaks else None
        for point in range(BODY_POINTS)
    ]
    return tuple(None if place is None else (float(place[0]), float(place[1])) for place in places)
