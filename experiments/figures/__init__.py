"""The command `nlhf reproduce`, and one folder for each figure: `run` computes, `plot` draws."""
