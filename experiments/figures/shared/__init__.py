"""What several figures share: runs of learners, panels, styles."""
