"""What a training run needs before a machine is rented: lowering, compiling, measuring, ranking."""
