/* Preloaded into a contender: every fsync and fdatasync takes SLOW_DISK_US microseconds more. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int slowed(const char *name, int file)
{
    int (*synced)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const char *wait = getenv("SLOW_DISK_US");
    int result = synced(file);
    if (wait != NULL)
        usleep((useconds_t)atoi(wait));
    return result;
}

int fsync(int file) { return slowed("fsync", file); }

int fdatasync(int file) { return slowed("fdatasync", file); }
