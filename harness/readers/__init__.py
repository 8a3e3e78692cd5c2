"""Other tools' results as the rows that lm-eval's become: one reader, one module."""
