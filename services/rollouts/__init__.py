"""Graded rollouts for any trainer: leased, acknowledged once, stamped with the policy that gave them."""
