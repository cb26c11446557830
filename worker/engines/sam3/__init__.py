"""The engine for GPUs: SAM3 as transformers has it, streamed, in flat memory.

Line numbers in this folder are those of transformers 5.23.0: ``v:`` is its
``models/sam3_video/modeling_sam3_video.py``, ``t:`` its
``models/sam3_tracker_video/modeling_sam3_tracker_video.py``.
"""
