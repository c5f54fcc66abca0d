#define _GNU_SOURCE 1
#include "watch_items.h"

#include <stdlib.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where the item leads now; 0 and 0 if nowhere. */
static void look_up(const ss_watch_item *item, uint64_t *ret_dev, uint64_t *ret_ino)
{
    char path[PATH_MAX];
    struct stat st;
    *ret_dev = *ret_ino = 0;
    const int length = item->name ? snprintf(path, sizeof path, "%s/%s", item->path, item->name)
                                  : snprintf(path, sizeof path, "%s", item->path);
    if (length > 0 && (size_t)length < sizeof path && stat(path, &st) == 0) {
        *ret_dev = st.st_dev;
        *ret_ino = st.st_ino;
        if (item->mask & IN_CLOSE_WRITE) /* perhaps half-written at the last look: the inode stays, its time or size does not */
            *ret_ino += (uint64_t)st.st_mtim.tv_sec * 1000000000 + (uint64_t)st.st_mtim.tv_nsec + (uint64_t)st.st_size;
    }
}

static unsigned news_of(const ss_watch_item *item)
{
    return item->announcer ? SS_WOKE_HEARD : SS_WOKE_PATHS;
}

unsigned ss_watch_items_compare(ss_watch_item *items, int count)
{
    unsigned why = 0;
    for (int i = 0; i < count; i++) {
        uint64_t dev, ino;
        look_up(&items[i], &dev, &ino);
        if (dev != items[i].dev || ino != items[i].ino)
            why |= news_of(&items[i]);
        items[i].dev = dev;
        items[i].ino = ino;
    }
    return why;
}

unsigned ss_watch_items_read(int inotify, ss_watch_item *items, int count)
{
    _Alignas(struct inotify_event) char buffer[4096];
    bool links = false;
    unsigned why = 0;
    ssize_t size;
    while ((size = read(inotify, buffer, sizeof buffer)) > 0) {
        for (char *at = buffer; at < buffer + size;) {
            const struct inotify_event *event = (const struct inotify_event *)at;
            at += sizeof *event + event->len;
            if (event->mask & (IN_Q_OVERFLOW | IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF))
                why |= SS_WOKE_PATHS | SS_WOKE_HEARD;
            links |= (event->mask & IN_ATTRIB) != 0; /* a file that is unlinked while it is mapped brings no other event */
            for (int i = 0; event->len && i < count; i++) {
                if (items[i].name && items[i].descriptor == event->wd && strcmp(items[i].name, event->name) == 0)
                    why |= news_of(&items[i]);
            }
        }
    }
    return links ? why | ss_watch_items_compare(items, count) : why;
}

int ss_watch_item_open(const ss_watch_item *item)
{
    char page[4096];
    int fd = open(item->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -1;
    if (item->sysgenid)
        return fd; /* opening acknowledged the generation */
    /* A driver without poll() is always ready; one whose hypervisor does not notify hangs up. Asked twice, for a change may
       come between the read and the poll. */
    for (int i = 0; i < 2; i++) {
        struct pollfd one = {.fd = fd, .events = POLLIN};
        if (pread(fd, page, sizeof page, 0) < 0)
            break;
        if (poll(&one, 1, 0) == 0)
            return fd;
    }
    (void)close(fd);
    errno = ENOTSUP;
    return -1;
}

void ss_watch_item_arm(ss_watch_item *item)
{
    char page[4096];
    if (item->sysgenid) {
        (void)close(item->descriptor); /* an untracked descriptor acknowledges by being opened anew */
        item->descriptor = ss_watch_item_open(item);
    } else if (pread(item->descriptor, page, sizeof page, 0) < 0) {
        (void)close(item->descriptor);
        item->descriptor = -1;
    }
}

int ss_watch_items_adopt(ss_watch_item *plan, int plan_count, const ss_watch_item *items, int count)
{
    for (int i = 0; i < plan_count; i++) {
        free(plan[i].path);
        free(plan[i].name);
    }
    memcpy(plan, items, (size_t)count * sizeof *items);
    return count;
}
