"""The redacted video and its report, as an output of a job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shoal.model.outputs import Redact
from worker.outputs.base import Made, Notes, Output, Stream, StreamNeeds
from worker.outputs.join import join_tables, join_videos
from worker.outputs.redact import timeline
from worker.outputs.redact.render import RedactSink
from worker.outputs.redact.report import Reporter
from worker.outputs.redact.scenes import LightSink


class RedactOutput(Output[Redact]):
    """No picture is written before everything is known."""

    @property
    def is_rendered(self) -> bool:
        return True

    @classmethod
    def notes(cls, options: Redact) -> Notes:
        return timeline.notes(options)

    def streams(self) -> Sequence[Stream]:
        return [
            Stream("light", "light.parquet", LightSink, join_tables, StreamNeeds.FRAME),
            self._pictures,
        ]

    @property
    def _pictures(self) -> Stream:
        info, notes = self.scene.info, self.scene.folder / timeline.PIECE
        return Stream(
            "redact",
            "redact.mp4",
            lambda path: RedactSink(path, info, self.options, notes),
            join_videos,
            StreamNeeds.VIDEO,
        )

    def finish(self, made: Made, path: Path) -> Path:
        scene, options = self.scene, self.options
        silent = made.rendered(self._pictures, self.notes(options))
        reporter = Reporter()
        for notes in made.pieces(timeline.PIECE) or [scene.folder / timeline.PIECE]:
            for moment in timeline.read(notes):
                reporter.add(moment)
        prompts = list(options.prompts or scene.spec.labels)
        text = reporter.report(scene.spec.id, options, prompts).model_dump_json(indent=2)
        made.extras["redaction"] = report = path.with_suffix(".json")
        report.write_text(text + "\n")
        return made.with_sound(options.kind, silent, path, options.audio)
