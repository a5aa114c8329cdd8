"""The order of stages, as flows an operator can start."""
