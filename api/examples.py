"""Requests and answers as the OpenAPI document shows them. A test holds them to the models."""

from __future__ import annotations

from typing import Any

Responses = dict[int | str, dict[str, Any]]  # FastAPI's "responses="

JOB_ID = "3f9c2b7a51d04e8896aa0c1d"

SUBMISSION: dict[str, Any] = {
    "uri": "file:///srv/videos/match.mp4",
    "prompts": ["person", "ball"],
    "options": {"sample_fps": 5, "max_frames": 0},
}

POINTING: dict[str, Any] = {
    "uri": "file:///srv/videos/match.mp4",
    "prompts": ["person"],
    "objects": [
        {"label": "ball", "frame": 0, "box": [912, 540, 936, 565]},
        {"label": "ball", "frame": 250, "points": [[301, 422, 1], [330, 400, 0]]},
        {"label": "person", "object": "referee", "frame": 0, "points": [[640, 310, 1]]},
    ],
    "remove_objects": [{"object_id": 7, "frame": 120}],
    "options": {"sample_fps": 0, "max_objects": 20, "score_threshold": 0.6, "engine": "sam3"},
}

UPLOAD: dict[str, Any] = {
    "uri": "file:///srv/shoal/uploads/9f86d081884c7d65/match.mp4",
    "bytes": 734003,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}

_OPTIONS: dict[str, Any] = {
    "sample_fps": 5.0,
    "max_frames": 0,
    "max_objects": 0,
    "score_threshold": None,
    "engine": "auto",
    "sequence_fps": 1.0,
    "allow_truncated": False,
    "direction": "forward",
    "start_frame": None,
}

QUEUED: dict[str, Any] = {
    "id": JOB_ID,
    "spec": {
        "uri": "file:///srv/videos/match.mp4",
        "version": "734003-1760000000000000000",
        "size": 734003,
        "prompts": ["person", "ball"],
        "objects": [],
        "remove_objects": [],
        "options": _OPTIONS,
        "results": "file:///srv/shoal/results/match",
    },
    "state": "queued",
    "created_at": 1760000100.25,
    "queued_at": 1760000100.25,
    "started_at": None,
    "finished_at": None,
    "attempt": 0,
    "failures": 0,
    "preemptions": 0,
    "model_deaths": 0,
    "worker": "",
    "host": "",
    "cancel_requested": False,
    "progress": {"stage": "", "frames": 0, "frames_expected": 0, "fps": 0.0},
    "error": None,
    "results": {},
    "summary": {},
}

SUCCEEDED: dict[str, Any] = QUEUED | {
    "state": "succeeded",
    "started_at": 1760000101.5,
    "finished_at": 1760000113.0,
    "attempt": 1,
    "worker": "gpu-1",
    "host": "node-7",
    "progress": {"stage": "publish", "frames": 150, "frames_expected": 150, "fps": 13.4},
    "results": {
        "match_segmented.mp4": 412331,
        "match_masks.parquet": 90412,
        "match_metadata.json": 1523,
    },
    "summary": {
        "frames_processed": 150,
        "duration_s": 30.0,
        "objects_detected": 23,
        "objects_per_prompt": {"person": 22, "ball": 1},
        "engine": "cpu",
        "seconds": 11.2,
        "metadata": f"file:///srv/shoal/results/match/{JOB_ID}/match_metadata.json",
    },
}

PAGE: dict[str, Any] = {
    "items": [SUCCEEDED],
    "next_cursor": f"1760000100.25~{JOB_ID}",
}

TIMELINE: dict[str, Any] = {
    "items": [
        {"at": 1760000100.25, "event": "queued", "detail": {}},
        {"at": 1760000101.5, "event": "started", "detail": {"worker": "gpu-1", "attempt": 1}},
        {"at": 1760000113.0, "event": "succeeded", "detail": {}},
    ]
}

ATTEMPTS: dict[str, Any] = {
    "items": [
        {
            "number": 1,
            "worker": "gpu-1",
            "host": "node-7",
            "started_at": 1760000101.5,
            "seconds": 81.2,
            "outcome": "failed",
            "error": {
                "code": "model_process_died",
                "message": "the model process was ended by SIGSEGV",
                "hint": "It is tried again by itself; if it comes back, look at the memory.",
                "transient": True,
                "traceback": "",
            },
            "log": ["12:01:10 INFO    worker.video_job: ..."],
        }
    ]
}

RESULT_FILES: dict[str, Any] = {
    "uri": f"file:///srv/shoal/results/match/{JOB_ID}/",
    "items": [
        {
            "name": "match_segmented.mp4",
            "bytes": 412331,
            "content_type": "video/mp4",
            "url": f"/videos/{JOB_ID}/results/match_segmented.mp4",
        }
    ],
}

QUEUE: dict[str, Any] = {
    "queued": 12,
    "running": 1,
    "oldest_queued_s": 4.2,
    "jobs": {"queued": 12, "running": 1, "succeeded": 310, "failed": 2, "cancelled": 0},
    "workers": [
        {
            "name": "gpu-1",
            "host": "node-7",
            "pid": 4121,
            "started_at": 1759990000.0,
            "beat_at": 1760000100.0,
            "state": "busy",
            "draining": False,
            "job": JOB_ID,
            "engine": "cpu",
            "device": "cpu",
            "model_loads": 1,
            "jobs_done": 310,
        }
    ],
}


def shown(status: int, description: str, example: dict[str, Any]) -> Responses:
    """A ``responses=`` entry of a route: an answer with an example."""
    content = {"application/json": {"example": example}}
    return {status: {"description": description, "content": content}}
