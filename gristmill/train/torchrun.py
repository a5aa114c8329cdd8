"""torchrun that ends with the process that started it: `python -m gristmill.train.torchrun --nproc-per-node N -m …`.

Plain torchrun outlives a parent that is killed, and goes on writing to a folder that nobody waits for.
"""

from torch.distributed.run import main

from gristmill.train.interrupts import follow_parent

if __name__ == "__main__":
    follow_parent()
    main()
