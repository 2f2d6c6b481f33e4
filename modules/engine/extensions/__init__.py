"""Extensions on disk: where they are, what is known of each, how they are enabled, installed and removed."""
