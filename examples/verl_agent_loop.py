"""verl on Retrograde's rollouts: an agent loop that a feed answers.

actor_rollout_ref.rollout.agent.agent_loop_config_path names a file that says

- {name: retrograde, _target_: examples.verl_agent_loop.FeedLoop, address: ..., feed: ..., prompts_key: ...,
  files: {authority: FILE, token: FILE}}

(without files in plaintext), and agent.default_agent_loop is retrograde. Validation would take prompts of the feed:
trainer.val_before_train=False, trainer.test_freq=-1.
"""

from typing import Any

from verl.experimental.agent_loop import AgentLoopBase, AgentLoopOutput

from retrograde.interop.verl import siblings_of_process


class FeedLoop(AgentLoopBase):
    """The calls of one prompt, rollout.n of them, get the samples of one group."""

    def __init__(self, *args: Any, address: str, feed: str, prompts_key: str, files: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.siblings = siblings_of_process(address, feed, prompts_key, self.rollout_config.n, **(files or {}))

    async def run(self, _sampling: dict[str, Any], **fields: Any) -> AgentLoopOutput:
        """The next sample of the group that stands for this prompt."""
        return await self.siblings.next(str(fields["uid"]))
