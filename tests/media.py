from pathlib import Path

import av
import numpy as np


def write_video(path: Path, frames: int = 50, fps: int = 25) -> None:
    with av.open(str(path), "w") as c:
        s = c.add_stream("libx264", rate=fps); s.width, s.height, s.pix_fmt = 160, 120, "yuv420p"
        for i in range(frames):
            a = np.full((120,160,3), i % 255, np.uint8)
            for p in s.encode(av.VideoFrame.from_ndarray(a, format="rgb24")): c.mux(p)
        for p in s.encode(): c.mux(p)
