"""Last stage: the report, from artifacts alone."""

from __future__ import annotations

from retrograde.analysis.report import write_report
from retrograde.core.problem import Cost
from retrograde.runtime.blocking import in_thread
from services.trainer.stages.stage import Progress, RunContext


class ReportStage:
    """Stores `report.json` and `report.html`."""

    name = "report"
    unit = "files"
    serves = ""

    async def run(self, context: RunContext, progress: Progress) -> Cost:
        """See Stage."""
        await in_thread(write_report, context.store, context.key())
        await progress(2, 2, "report.json, report.html")
        return Cost()
