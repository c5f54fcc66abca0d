"""Which counter is watched: the candidates, who else may open one, the file in VMClock's layout."""
