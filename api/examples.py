"""Requests and answers as the OpenAPI document shows them. A test holds them to the models.

They stand in one file, not on their models, because they share their values: it is one job, queued,
running and done, that all of them show.
"""

from __future__ import annotations

from typing import Any

from shoal.model.outputs import USUAL

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
    "exemplars": [
        {"prompt": "person", "frame": 0, "box": [40, 200, 96, 360]},
        {"prompt": "person", "frame": 0, "box": [700, 210, 748, 352], "positive": False},
    ],
    "options": {"sample_fps": 0, "max_objects": 20, "score_threshold": 0.6, "engine": "sam3"},
}

UPLOAD: dict[str, Any] = {
    "uri": "file:///srv/shoal/uploads/9f86d081884c7d65/match.mp4",
    "bytes": 734003,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}

_OPTIONS: dict[str, Any] = {
    "sample_fps": 5.0,
    "track_fps": None,
    "max_frames": 0,
    "max_objects": 0,
    "score_threshold": None,
    "engine": "auto",
    "sequence_fps": 1.0,
    "allow_truncated": False,
    "deinterlace": "auto",
    "split": "off",
    "direction": "forward",
    "start_frame": None,
    "detect_every": 1,
    "score_threshold_detection": None,
    "det_nms_thresh": None,
    "fill_hole_area": None,
    "recondition_every_nth_frame": None,
    "hotstart_delay": None,
    "memory_temporal_stride_for_eval": 1,
    "outputs": [each.model_dump(mode="json") for each in USUAL],
}

PREVIEW_REQUEST: dict[str, Any] = {
    "uri": "file:///srv/videos/match.mp4",
    "prompts": ["person", "ball"],
    "frames": 6,
}

PREVIEW_WAITS: dict[str, Any] = {
    "id": JOB_ID,
    "state": "waiting",
    "uri": "file:///srv/videos/match.mp4",
    "engine": "",
    "video": None,
    "frames": [],
    "error": None,
}

PREVIEW: dict[str, Any] = PREVIEW_WAITS | {
    "state": "running",
    "engine": "cpu",
    "video": {
        "fps": 25.0,
        "duration_s": 5400.0,
        "tracked_fps": 15.0,
        "start_scores": {"person": 0.5, "ball": 0.45},
    },
    "frames": [
        {
            "frame": 11250,
            "exact": True,
            "time_s": 450.0,
            "width": 1280,
            "height": 720,
            "detect_s": 0.061,
            "objects": [
                {
                    "prompt": "person",
                    "object": "",
                    "pointed": False,
                    "score": 0.83,
                    "box": [402.5, 210.0, 466.1, 371.9],
                    "mask": {"size": [720, 1280], "counts": "Zmh82^h00N2O1O1N2N2O1"},
                }
            ],
            "left_out": 0,
            "picture": f"/previews/{JOB_ID}/pictures/0",
        }
    ],
}

FORECAST: dict[str, Any] = {
    "sampled_fps": 0.0,
    "reason": "",
    "seconds": 0.0,
    "cost": 0.0,
    "all_frames": 0,
    "all_frames_s": 0.0,
    "all_frames_cost": 0.0,
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
        "exemplars": [],
        "segment": None,
        "base": "",
        "edits": None,
        "options": _OPTIONS,
        "results": "file:///srv/shoal/results/match",
    },
    "state": "queued",
    "created_at": 1760000100.25,
    "queued_at": 1760000100.25,
    "begun_at": None,
    "started_at": None,
    "finished_at": None,
    "attempt": 0,
    "failures": 0,
    "preemptions": 0,
    "model_deaths": 0,
    "losses": 0,
    "unsaved": 0,
    "worker": "",
    "host": "",
    "cancel_requested": False,
    "retry_at": None,
    "progress": {
        "stage": "",
        "frames": 0,
        "frames_expected": 0,
        "fps": 0.0,
        "moved_at": 0.0,
        "forecast": FORECAST,
    },
    "error": None,
    "results": {},
    "summary": {},
    "callbacks": [],
    "batches": [],
    "deleting_at": None,
    "priority": "normal",
    "share": {
        "source": "token:app",
        "priority": "normal",
        "weight": 1,
        "max_running": 0,
        "owner": "app",
    },
    "hourly_price": 0.0,
    "saved_at": None,
    "spent": {"seconds": 0.0, "cost": 0.0, "wasted_seconds": 0.0, "wasted_cost": 0.0},
    "phase": "",
    "plan": "",
    "segment_count": 0,
    "segments_spent": {"seconds": 0.0, "cost": 0.0, "wasted_seconds": 0.0, "wasted_cost": 0.0},
    "segments": [],
    "base": "",
}

REFINEMENT: dict[str, Any] = {
    "remove": [3],
    "merge": [[4, 7]],
    "split": [{"object_id": 5, "frame": 120}],
    "relabel": {"4": "dog"},
}

CORRECTION: dict[str, Any] = {"object_id": 3, "frame": 120, "points": [[301, 422, 1]]}

REFINE_PLAN: dict[str, Any] = {
    "id": "8d1e6f0c94b7a2535c0e71fa",
    "exists": False,
    "needs_model": True,
    "continues_from_frame": 118,
}

REFINED: dict[str, Any] = QUEUED | {
    "id": "8d1e6f0c94b7a2535c0e71fa",
    "spec": QUEUED["spec"]
    | {
        "base": JOB_ID,
        "edits": REFINEMENT | {"new_ids": [24], "labels": ["dog"]},
    },
    "base": JOB_ID,
}

SUCCEEDED: dict[str, Any] = QUEUED | {
    "state": "succeeded",
    "begun_at": 1760000101.5,
    "started_at": 1760000101.5,
    "finished_at": 1760000113.0,
    "attempt": 1,
    "worker": "gpu-1",
    "host": "node-7",
    "progress": {
        "stage": "publish",
        "frames": 150,
        "frames_expected": 150,
        "fps": 13.4,
        "moved_at": 1760000112.1,
        "forecast": FORECAST | {"all_frames": 150, "seconds": 11.2, "all_frames_s": 11.2},
    },
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
    "spent": {"seconds": 11.5, "cost": 0.003514, "wasted_seconds": 0, "wasted_cost": 0},
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
            "log": ["12:01:10 INFO    worker.pipeline.job: ..."],
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

PARTS: dict[str, Any] = {
    "items": [{"number": 1, "attempt": 1, "frames": 60, "url": f"/videos/{JOB_ID}/parts/1"}]
}

BULK: dict[str, Any] = {"action": "retry", "filter": {"cause": "storage_unavailable"}}

BULK_RESULT: dict[str, Any] = {"changed": 17, "skipped": 0, "next_cursor": ""}

ENGINES: dict[str, Any] = {
    "items": [
        {"name": "auto", "workers": 2, "code": "", "reason": "", "hint": ""},
        {
            "name": "cpu",
            "workers": 2,
            "code": "unknown_prompt",
            "reason": "the cpu engine has no word for 'goalkeeper'",
            "hint": "It knows: adult, aeroplane, ...",
        },
        {"name": "sam3", "workers": 0, "code": "", "reason": "", "hint": ""},
    ]
}

QUEUE: dict[str, Any] = {
    "queued": 12,
    "held": 0,
    "startable": 12,
    "running": 1,
    "oldest_queued_s": 4.2,
    "paused": False,
    "jobs": {"queued": 12, "running": 1, "succeeded": 310, "failed": 2, "cancelled": 0},
    "segments": {},
    "split": 0,
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
            "hourly_price": 1.1,
            "jobs_done": 310,
        }
    ],
}


RECEIPT: dict[str, Any] = {"queued": 1, "known": 0, "skipped": 0, "jobs": [JOB_ID]}

SKIPPED: dict[str, Any] = {
    "counts": {"no_rule": 3, "empty": 1},
    "items": [
        {
            "at": 1760000100.25,
            "sender": "gcs",
            "uri": "gs://matches/notes.txt",
            "reason": "no_rule",
            "detail": "none of 2 rules matches",
        }
    ],
}

DELIVERY: dict[str, Any] = {
    "id": "msg_5d0c8f0e6b0a4c5f9f7a1e2d3c4b5a69",
    "job": JOB_ID,
    "url": "https://example.com/hooks/shoal",
    "type": "video.succeeded",
    "state": "delivered",
    "created_at": 1760000113.0,
    "next_at": None,
    "attempts": 1,
    "tries": [{"at": 1760000113.4, "seconds": 0.12, "status": 204, "error": ""}],
    "body": '{"type":"video.succeeded","timestamp":"2025-10-09T08:55:13+00:00","data":{}}',
}

DELIVERIES: dict[str, Any] = {"items": [DELIVERY], "next_cursor": ""}


TOKEN: dict[str, Any] = {
    "name": "ci",
    "scope": "submit",
    "created_at": 1760000100.25,
    "created_by": "SHOAL_API_TOKENS[0]",
    "priority": "normal",
    "weight": 1,
    "limits": {"queued": 0, "submissions_per_day": 0, "upload_bytes_per_day": 0},
}

NEW_TOKEN = TOKEN | {"secret": "shoal_" + "x" * 43}

TOKENS: dict[str, Any] = {"items": [TOKEN]}

STORAGE: dict[str, Any] = {
    "items": [
        {"where": "file:///data/uploads/", "what": "uploads", "files": 3, "bytes": 81233421},
        {"where": "gs://matches-results/", "what": "results", "files": 812, "bytes": 9123344021},
        {"where": "gs://matches-results/", "what": "segments", "files": 14, "bytes": 51233421},
    ],
    "unreadable": {},
}

BATCH_REQUEST: dict[str, Any] = {
    "name": "season 2025",
    "globs": ["gs://matches/2025/**/*.mp4"],
    "prompts": ["soccer player", "ball"],
    "options": {"sample_fps": 5},
}

BATCH: dict[str, Any] = {
    "id": "b7c1d2e3f4a5968778695a4b",
    "name": "season 2025",
    "state": "running",
    "created_at": 1760000100.25,
    "globs": ["gs://matches/2025/**/*.mp4"],
    "uris": 0,
    "prompts": ["soccer player", "ball"],
    "objects": [],
    "exemplars": [],
    "options": _OPTIONS,
    "callback": "",
    "priority": "low",
    "weight": 1,
    "max_running": 0,
    "objects_seen": 520,
    "videos": 498,
    "counts": {"queued": 300, "running": 8, "succeeded": 187, "failed": 3, "cancelled": 0},
    "failures": {"bad_video": 2, "timeout": 1},
    "skipped": {"own_result": 20},
    "rejected": {"video_too_large": 2},
    "progress": 0.3915,
    "gpu_seconds": 21402.5,
    "cost": 6.5396,
    "wasted_seconds": 214.0,
    "wasted_cost": 0.0654,
    "eta_s": 4315.2,
    "error": None,
}

BATCH_PAGE: dict[str, Any] = {
    "items": [BATCH],
    "next_cursor": "1760000100.25~b7c1d2e3f4a5968778695a4b",
}

BATCH_SKIPS: dict[str, Any] = {
    "items": [
        {
            "uri": "gs://matches/2025/final.mp4",
            "reason": "video_too_large",
            "detail": "the video has 60129542144 bytes, 53687091200 is the limit",
        }
    ]
}


def shown(status: int, description: str, example: dict[str, Any]) -> Responses:
    """A ``responses=`` entry of a route: an answer with an example."""
    content = {"application/json": {"example": example}}
    return {status: {"description": description, "content": content}}
