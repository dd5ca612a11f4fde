// Stands in for the C library's getrandom. With TREASUREHUNT_SIMULATION_RANDOM set to a number,
// all that the process takes for random follows from that number; without it, nothing changes.

#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static int decided;
static uint64_t state;

// splitmix64
static uint64_t next(void) {
    uint64_t z = __atomic_add_fetch(&state, 0x9e3779b97f4a7c15u, __ATOMIC_RELAXED);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

ssize_t getrandom(void *buffer, size_t length, unsigned int flags) {
    if (!decided) {
        const char *seed = getenv("TREASUREHUNT_SIMULATION_RANDOM");
        state = seed ? strtoull(seed, 0, 10) : 0;
        decided = seed ? 1 : 2;
    }
    if (decided == 2) {
        return syscall(SYS_getrandom, buffer, length, flags);
    }
    unsigned char *bytes = buffer;
    for (size_t at = 0; at < length; at++) {
        bytes[at] = (unsigned char)next();
    }
    return (ssize_t)length;
}
