"""The restore event: callbacks, whose turn it is, delivery to threads, loops and hubs, what the watcher watches."""
