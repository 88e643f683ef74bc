/* A child process must not use what it inherited: fork NAME */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <sys/wait.h>
#include <unistd.h>

#define INHERITED(call)                                                                                                \
    do {                                                                                                               \
        IS(SHM2_FORKED, call);                                                                                         \
        SAYS("inherited from the parent process");                                                                     \
    } while (0)

static shm2_consumer *consumer;
static shm2_producer *producer;
static shm2_frame *frame;
static shm2_slot *slot;
static shm2_region *region;

static void child(const char *name) {
    shm2_frame *next;
    shm2_slot *reserved;
    shm2_region_state state;
    shm2_video video;
    INHERITED(shm2_consumer_next(consumer, -1, &next));
    INHERITED(shm2_consumer_try_next(consumer, &next));
    INHERITED(shm2_consumer_fd(consumer, &(int){0}));
    INHERITED(shm2_consumer_cancel(consumer, true));
    INHERITED(shm2_producer_send(producer, "x", 1, 0, NULL));
    INHERITED(shm2_producer_reserve(producer, 1, &reserved));
    INHERITED(shm2_frame_read(frame, 0, &(char){0}, 1));
    INHERITED(shm2_frame_video(frame, &video, sizeof video));
    INHERITED(shm2_region_get_state(region, &state, sizeof state));
    CHECK(shm2_frame_data(frame) == NULL && shm2_frame_size(frame) == 0);
    SAYS("inherited");
    CHECK(shm2_slot_data(slot) == NULL);
    SAYS("inherited");
    INHERITED(shm2_slot_set_pts(slot, 1));

    /* Freeing has no effect on the parent, and publish frees the slot. */
    INHERITED(shm2_producer_publish(producer, slot, NULL));
    shm2_frame_free(frame);
    shm2_consumer_free(consumer);
    shm2_producer_free(producer);
    shm2_region_free(region);

    /* New handles work. */
    OK(shm2_consumer_open(name, NULL, &consumer));
    OK(shm2_consumer_next(consumer, 10 * SECOND, &frame));
    CHECK(memcmp(shm2_frame_data(frame), "before", 6) == 0);
    shm2_frame_free(frame);
    shm2_consumer_free(consumer);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    shm2_producer_options *options = shm2_producer_options_new();
    OK(shm2_producer_options_set_size(options, 8 << 20));
    OK(shm2_producer_create(argv[1], options, &producer));
    shm2_producer_options_free(options);
    OK(shm2_producer_send(producer, "before", 6, 0, NULL));
    OK(shm2_consumer_open(argv[1], NULL, &consumer));
    OK(shm2_consumer_next(consumer, 10 * SECOND, &frame));
    CHECK(shm2_frame_is_leased(frame));
    OK(shm2_consumer_fd(consumer, &(int){0}));
    OK(shm2_producer_reserve(producer, 5, &slot));
    OK(shm2_region_inspect(argv[1], &region));

    fflush(NULL);
    pid_t id = fork();
    CHECK(id >= 0);
    if (id == 0) {
        child(argv[1]);
        _exit(7);
    }
    int status = 0;
    CHECK(waitpid(id, &status, 0) == id);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);

    CHECK(memcmp(shm2_frame_data(frame), "before", 6) == 0);
    OK(shm2_slot_write(slot, 0, "after", 5));
    OK(shm2_producer_publish(producer, slot, NULL));
    shm2_frame_free(frame);
    OK(shm2_consumer_next(consumer, 10 * SECOND, &frame));
    CHECK(memcmp(shm2_frame_data(frame), "after", 5) == 0);
    shm2_frame_free(frame);
    shm2_region_free(region);
    shm2_consumer_free(consumer);
    shm2_producer_free(producer);
    return 0;
}
