"""The command `nlhf check`: judge the ledger, or claims on a game of the user."""
