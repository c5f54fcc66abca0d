"""The subcommands of `snapsafe`, listed in snapsafe_rt.cli.main. Nothing that a protected program imports."""
