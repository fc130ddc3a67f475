"""/metrics: what is exposed (`catalogue`), where it comes from (`collect`), and its text (`expose`)."""
