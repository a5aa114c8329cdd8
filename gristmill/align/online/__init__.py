"""Reinforcement learning on answers that the policy samples itself: GRPO and its variants, RLOO, PPO.

Rewards are plain functions of an answer, composed by weights. The loops are our own: TRL has no PPO any more, and a
group's prompt is computed once here.
"""
