"""The program's side of a snapshot that is announced: the machine of phases, and who announces."""
