/* Forks past Python: as a library does that works for a while and forks then, in one call, with or without the GIL, as its caller
   says; and in a thread that is cancelled. */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

int late_fork(unsigned microseconds)
{
    (void)usleep(microseconds);
    return fork();
}

static void *fork_in_thread(void *pid)
{
    if ((*(int *)pid = fork()) == 0)
        _exit(0);
    for (;;)
        pause();
}

/* Returns when the thread has ended. */
void fork_and_be_cancelled(void)
{
    pthread_t thread;
    int pid = 0;
    if (pthread_create(&thread, NULL, fork_in_thread, &pid) != 0)
        return;
    (void)pthread_cancel(thread); /* pending until it comes to a cancellation point, which fork(3) is not */
    (void)pthread_join(thread, NULL);
    if (pid > 0)
        (void)waitpid(pid, NULL, 0);
}
