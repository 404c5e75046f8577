"""What can be proven: one module per statement, each specified in circuits/."""
