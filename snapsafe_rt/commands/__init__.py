"""The subcommands of `snapsafe`, listed in snapsafe_rt.cli. Nothing that a protected program imports."""
