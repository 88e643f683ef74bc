/* What the test programs share: a check that fails ends the program with its place and the last error. */
#ifndef CHECK_H
#define CHECK_H

#include <shm2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND INT64_C(1000000000)

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s; last error: %s\n", __FILE__, __LINE__, #condition, shm2_last_error());         \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* A call that succeeds. */
#define OK(call) IS(SHM2_OK, call)

/* A call with this status. */
#define IS(wanted, call)                                                                                               \
    do {                                                                                                               \
        shm2_status found_ = (call);                                                                                   \
        if (found_ != (wanted)) {                                                                                      \
            fprintf(stderr, "%s:%d: %s is %s, not %s; last error: %s\n", __FILE__, __LINE__, #call,                    \
                    shm2_status_name(found_), #wanted, shm2_last_error());                                             \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* The last error has this part. */
#define SAYS(part) CHECK(strstr(shm2_last_error(), part) != NULL)

/* A call that is refused, with an error that names what is wrong. */
#define REFUSED(call, part)                                                                                            \
    do {                                                                                                               \
        IS(SHM2_INVALID, call);                                                                                        \
        SAYS(part);                                                                                                    \
    } while (0)

#endif
