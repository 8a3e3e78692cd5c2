"""The gate's verdict for others: tables, Markdown, JUnit, and what other tools read."""
