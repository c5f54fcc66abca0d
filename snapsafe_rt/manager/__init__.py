"""The manager: learns of restores for programs that cannot open a device, reseeds the kernel, tells them by a file, and
hands the open device to those who ask. One for each machine or container; the other commands import `client` alone."""
