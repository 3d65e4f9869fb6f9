/*
 * slowsync: every fsync() and fdatasync() of a process takes SLOWSYNC_USEC microseconds longer.
 *
 * Preloaded (LD_PRELOAD) into the relay under test by bench/slowsync.py, so that a fast disk behaves like a
 * network volume. What it did is written to the file SLOWSYNC_COUNTER, which every process maps when it starts
 * and before it drops its privileges: a benchmark that finds no syncs there has not slowed anything down.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct account {
    _Atomic uint64_t syncs;  /* calls in all processes */
    _Atomic uint64_t waited; /* nanoseconds that they were held back, together */
};

static struct account *account;
static struct timespec delay;
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("SLOWSYNC_COUNTER");
    const char *usec = getenv("SLOWSYNC_USEC");
    long wanted = usec ? strtol(usec, NULL, 10) : 0;

    delay.tv_sec = wanted / 1000000;
    delay.tv_nsec = (wanted % 1000000) * 1000;
    real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return; /* nothing is counted, which the harness takes as a failure */
    void *map = mmap(NULL, sizeof *account, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED)
        account = map;
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void hold_back(void)
{
    int saved = errno;
    uint64_t before = now();
    struct timespec left = delay;

    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
    if (account) {
        atomic_fetch_add(&account->syncs, 1);
        atomic_fetch_add(&account->waited, now() - before);
    }
    errno = saved;
}

int fsync(int fd)
{
    hold_back();
    return real_fsync(fd);
}

int fdatasync(int fd)
{
    hold_back();
    return real_fdatasync(fd);
}
