"""Pictures with a high dynamic range (PQ, HLG) or wide primaries (BT.2020) as SDR BT.709.

The tone map is the one of ITU-R BT.2390-11, 5.4.1 (EETF), from a display of 1000 cd/m² to one of
203 cd/m², the level that ITU-R BT.2408 gives to diffuse white: up to some 90 cd/m², where faces
are, light stays as it is, and what is brighter is compressed; from 1000 cd/m² on it is white. It
acts on the largest of red, green and blue, and the others follow in proportion, so hues stay.
"""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

PQ, HLG = 16, 18  # transfer characteristics of ITU-T H.273
BT2020 = 9  # primaries
FORMAT = "gbrp12le"  # of what is mapped
CODES = 4096
BAND = 32  # rows

WHITE, PEAK = 203.0, 1000.0  # cd/m²
GAMMA = 2.4  # of an SDR display: ITU-R BT.1886
HLG_GAMMA = 1.2  # of the system at 1000 cd/m²: ITU-R BT.2100, table 5

# ITU-R BT.2087-0, 2: linear light, BT.2020 to BT.709.
TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)
TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
LUMINANCE = np.array([0.2627, 0.6780, 0.0593])  # of BT.2020

Light = NDArray[np.float64]
Codes = NDArray[np.uint16]
Floats = NDArray[np.float32]


def pq_to_light(signal: Light) -> Light:
    """cd/m² of a PQ signal, 0 to 1 (SMPTE ST 2084:2014, 4.1)."""
    power = np.power(np.clip(signal, 0, 1), 1 / _M2)
    return np.asarray(
        10_000 * np.power(np.maximum(power - _C1, 0) / (_C2 - _C3 * power), 1 / _M1), np.float64
    )


def light_to_pq(light: Light) -> Light:
    """The inverse of ``pq_to_light``."""
    power = np.power(np.clip(light, 0, 10_000) / 10_000, _M1)
    return np.asarray(np.power((_C1 + _C2 * power) / (1 + _C3 * power), _M2), np.float64)


_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073


def hlg_to_scene(signal: Light) -> Light:
    """Scene light, 0 to 1, of an HLG signal, 0 to 1 (ITU-R BT.2100, table 5: inverse OETF)."""
    signal = np.clip(signal, 0, 1)
    high = (np.exp((signal - _C) / _A) + _B) / 12
    return np.asarray(np.where(signal <= 0.5, signal**2 / 3, high), np.float64)


def light_to_hlg(light: Light) -> Light:
    """The HLG signal (..., 3), 0 to 1, of cd/m² on a display of 1000 (ITU-R BT.2100, table 5)."""
    light = np.clip(light / PEAK, 0, 1)
    luminance = np.maximum(light @ LUMINANCE, 1e-9)[..., None]
    scene = np.clip(luminance ** ((1 - HLG_GAMMA) / HLG_GAMMA) * light, 0, 1)
    high = _A * np.log(np.maximum(12 * scene - _B, 1e-9)) + _C
    return np.asarray(np.where(scene <= 1 / 12, np.sqrt(3 * scene), high), np.float64)


def compress(light: Light) -> Light:
    """cd/m² on the SDR display for cd/m² (...) on the HDR one: BT.2390's EETF, black at 0."""
    top = float(light_to_pq(np.array(PEAK)))
    limit = float(light_to_pq(np.array(WHITE))) / top
    knee = 1.5 * limit - 0.5
    signal = np.clip(light_to_pq(light) / top, 0, 1)
    t = (signal - knee) / (1 - knee)
    spline = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (-2 * t**3 + 3 * t**2) * limit
    )
    return pq_to_light(top * np.where(signal < knee, signal, spline))


def from_sdr(signal: Light, transfer: int) -> Light:
    """The BT.2020 signal of PQ or HLG, 0 to 1, of a BT.709 signal (3,), white at 203 cd/m²."""
    light = WHITE * np.power(signal, GAMMA) @ TO_BT2020.T
    return light_to_pq(light) if transfer == PQ else light_to_hlg(light)


class ToneMapper:
    """Makes SDR of pictures: a table for each of the curves, and one matrix.

    Attributes:
        kind: transfer and primaries of the pictures that it takes.
    """

    def __init__(self, transfer: int, primaries: int) -> None:
        self.kind = transfer, primaries
        codes = np.linspace(0, 1, CODES)
        self._matrix = (TO_BT709 if primaries == BT2020 else np.eye(3)).astype(np.float32)
        # Of what has no codes of its own, the square root is looked up: dark steps are finer.
        self._signal = np.rint(255 * np.power(codes**2, 1 / GAMMA)).astype(np.uint8)
        light = pq_to_light(codes) if transfer == PQ else PEAK * codes**2
        gain = compress(light) / np.maximum(light, 1e-6)
        gain[0] = gain[1]  # black stays black
        self._gain = gain.astype(np.float32)
        linear = {PQ: light / WHITE, HLG: hlg_to_scene(codes)}
        self._linear = linear.get(transfer, np.power(codes, GAMMA)).astype(np.float32)

    def map(self, picture: av.VideoFrame) -> av.VideoFrame:
        """The picture, which is ``FORMAT``, as 8-bit BT.709 RGB."""
        planes = [_codes(plane) for plane in picture.planes[:3]]
        signal = np.empty((picture.height, picture.width, 3), np.uint8)
        for top in range(0, picture.height, BAND):  # so that what is at work stays in the cache
            rows = slice(top, top + BAND)
            signal[rows] = self._map(*(plane[rows] for plane in planes))
        return av.VideoFrame.from_ndarray(signal, format="rgb24")

    def _map(self, green: Codes, blue: Codes, red: Codes) -> NDArray[np.uint8]:
        rgb: Floats = np.stack([np.take(self._linear, each) for each in (red, green, blue)], -1)
        if self.kind[0] == PQ:
            largest = np.maximum(np.maximum(red, green), blue)
            rgb *= np.take(self._gain, largest)[..., None]
        elif self.kind[0] == HLG:
            rgb *= self._hlg_gain(rgb)[..., None]
        rgb = np.clip(rgb @ self._matrix.T, 0, 1)
        return np.take(self._signal, _index(rgb))

    def _hlg_gain(self, scene: Floats) -> Floats:
        """What scene light is multiplied with: the display's system gamma, and the tone map."""
        luminance = np.maximum(scene @ LUMINANCE.astype(np.float32), 1e-9)
        system = np.power(luminance, np.float32(HLG_GAMMA - 1))
        largest = np.clip(scene.max(axis=-1) * system, 0, 1)  # of PEAK
        gain = np.take(self._gain, _index(largest))
        return np.asarray(gain * system * np.float32(PEAK / WHITE), np.float32)


def _codes(plane: av.video.plane.VideoPlane) -> Codes:
    rows = np.frombuffer(memoryview(plane), np.uint16).reshape(plane.height, -1)
    return rows[:, : plane.width]


def _index(linear: Floats) -> Codes:
    """The place of light, 0 to 1, in a table of its square root."""
    return np.asarray(np.sqrt(linear) * np.float32(CODES - 1) + np.float32(0.5)).astype(np.uint16)
