"""Instruction rows that a model writes from seeds, checked one by one."""
