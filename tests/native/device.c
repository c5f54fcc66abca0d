/* Preloaded: the file whose inode STANDIN_DEVICE names ("st_dev:st_ino") shows itself as a character device, 10:99. Then it
   is opened, passed and mapped as VMClock's device is, which a machine without one does not have. As drivers before Linux
   7.0 it is always ready, for poll(2). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static int dress(int outcome, struct stat *st)
{
    unsigned long dev, ino;
    const char *named = getenv("STANDIN_DEVICE");
    if (outcome == 0 && named && sscanf(named, "%lu:%lu", &dev, &ino) == 2 && st->st_dev == dev && st->st_ino == ino) {
        st->st_mode = (st->st_mode & 07777) | S_IFCHR;
        st->st_rdev = makedev(10, 99);
    }
    return outcome;
}

int stat(const char *path, struct stat *st)
{
    int (*next)(const char *, struct stat *) = (int (*)(const char *, struct stat *))dlsym(RTLD_NEXT, "stat");
    return dress(next(path, st), st);
}

int fstat(int fd, struct stat *st)
{
    int (*next)(int, struct stat *) = (int (*)(int, struct stat *))dlsym(RTLD_NEXT, "fstat");
    return dress(next(fd, st), st);
}
