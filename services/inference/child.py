"""What runs inside the engine's own processes, where the model is.

**Swapping weights.** vLLM loads a checkpoint into the model that stands (`reload_weights`). On a CPU each matrix also
has a private copy in the kernel's layout; the reload renews those of the layers the checkpoint names, but not that of
an output head tied to the embedding, which no checkpoint names: the model would go on predicting with the old head. So
it is repacked here.

**Dying.** A service that is killed cannot stop its children, and an orphaned engine would keep a gigabyte and its
threads. So each process that holds a part of the model asks the kernel to be told when its parent is gone: vLLM imports
this module there (`worker_extension_cls`), before it loads the model, and the import asks. For SIGKILL: there is
nothing to save, and vLLM's own handler of SIGTERM may wait for a parent that is gone.
"""

from __future__ import annotations

import multiprocessing
import signal
from typing import Any

from retrograde.runtime.lifeline import die_with_parent


class EngineChild:
    """Mixed into vLLM's worker class; its methods are called by name from the service (`collective_rpc`)."""

    model_runner: Any

    def load_folder(self, folder: str) -> None:
        """Loads the checkpoint in `folder` into the model. No step may be under way."""
        from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead  # noqa: PLC0415

        self.model_runner.reload_weights(weights_path=folder)
        for module in self.model_runner.get_model().modules():
            if isinstance(module, ParallelLMHead):
                module.quant_method.process_weights_after_loading(module)


if multiprocessing.parent_process() is not None:
    die_with_parent(signal.SIGKILL)
