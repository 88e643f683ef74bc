/* Waits for the frames of several regions with poll, until Ctrl-C: poll NAME...
 *
 * cc -std=c11 -o poll poll.c $(pkg-config --cflags --libs shm2) */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <poll.h>
#include <shm2.h>
#include <signal.h>
#include <stdio.h>

enum { MOST = 64 };

static volatile sig_atomic_t is_interrupted;

static void interrupt(int signal) {
    (void)signal;
    is_interrupted = 1;
}

/* Takes what there is: until SHM2_TIMED_OUT the descriptor stays readable. */
static shm2_status take_all(const char *name, shm2_consumer *consumer) {
    shm2_frame *frame;
    shm2_status status;
    while ((status = shm2_consumer_try_next(consumer, &frame)) == SHM2_OK) {
        printf("%s: frame %" PRIu64 ", %zu bytes\n", name, shm2_frame_sequence(frame), shm2_frame_size(frame));
        shm2_frame_free(frame);
    }
    fflush(stdout);
    if (status == SHM2_END_OF_STREAM) {
        printf("%s: end of stream\n", name);
        return SHM2_OK; /* a producer may start a new stream */
    }
    return status == SHM2_TIMED_OUT ? SHM2_OK : status;
}

int main(int argc, char **argv) {
    shm2_consumer *consumers[MOST] = {NULL};
    struct pollfd entries[MOST];
    shm2_status status = SHM2_OK;
    int count = argc - 1;
    if (count < 1 || count > MOST) {
        fprintf(stderr, "usage: poll NAME... (at most %d)\n", MOST);
        return 2;
    }
    struct sigaction action = {.sa_handler = interrupt};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    for (int i = 0; i < count && status == SHM2_OK; i++) {
        entries[i].events = POLLIN;
        status = shm2_consumer_open(argv[i + 1], NULL, &consumers[i]);
        if (status == SHM2_OK)
            status = shm2_consumer_fd(consumers[i], &entries[i].fd);
    }
    while (status == SHM2_OK && !is_interrupted) {
        /* With a limit, because a signal may come just before this call. */
        if (poll(entries, (nfds_t)count, 1000) <= 0)
            continue;
        for (int i = 0; i < count && status == SHM2_OK; i++)
            if (entries[i].revents != 0)
                status = take_all(argv[i + 1], consumers[i]);
    }
    if (status != SHM2_OK)
        fprintf(stderr, "poll: %s (%s)\n", shm2_last_error(), shm2_status_name(status));
    for (int i = 0; i < count; i++)
        shm2_consumer_free(consumers[i]);
    return status == SHM2_OK ? 0 : 1;
}
