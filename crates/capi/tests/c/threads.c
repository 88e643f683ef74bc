/* Calls from several threads: threads NAME
 *
 * One handle is used by one thread at a time; what others get is an error, not a data race. Cancelling, the producer's
 * counters and try_reserve work from any thread, and frames may be read and freed on any. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { FRAMES = 200, READERS = 4 };

static shm2_consumer *consumer;
static shm2_producer *producer;
static atomic_bool ends;

static void *wait_for_frame(void *unused) {
    shm2_frame *frame;
    IS(SHM2_CANCELLED, shm2_consumer_next(consumer, -1, &frame));
    SAYS("cancelled");
    return unused;
}

static void pause_a_moment(void) {
    const struct timespec moment = {0, 1000000};
    nanosleep(&moment, NULL);
}

static void a_second_thread_is_refused_and_may_cancel(const char *name) {
    shm2_consumer_stats stats;
    pthread_t waiting;
    OK(shm2_consumer_open(name, NULL, &consumer));
    CHECK(pthread_create(&waiting, NULL, wait_for_frame, NULL) == 0);
    shm2_status status;
    while ((status = shm2_consumer_get_stats(consumer, &stats, sizeof stats)) == SHM2_OK)
        pause_a_moment();
    IS(SHM2_IN_USE, status);
    SAYS("another thread");
    CHECK(shm2_consumer_waiting_for(consumer) != NULL);
    OK(shm2_consumer_cancel(consumer, true));
    CHECK(pthread_join(waiting, NULL) == 0);
    OK(shm2_consumer_get_stats(consumer, &stats, sizeof stats));
    OK(shm2_consumer_cancel(consumer, false));
}

/* The error of another thread stays its own. */
static void *read_frame(void *frame) {
    CHECK(strcmp(shm2_last_error(), "") == 0);
    for (int i = 0; i < 1000; i++) {
        shm2_plane plane;
        OK(shm2_frame_plane(frame, 0, &plane, sizeof plane));
        CHECK(plane.rows == 8 && plane.data[0] == 42 && shm2_frame_size(frame) == 256);
    }
    shm2_audio audio;
    IS(SHM2_MEDIA, shm2_frame_audio(frame, &audio, sizeof audio));
    return NULL;
}

static void many_threads_read_one_frame(void) {
    char bytes[256];
    pthread_t readers[READERS];
    shm2_frame *frame;
    memset(bytes, 42, sizeof bytes);
    OK(shm2_producer_set_caps(producer, "video/x-raw,format=RGBA,width=8,height=8"));
    OK(shm2_producer_send(producer, bytes, sizeof bytes, 0, NULL));
    OK(shm2_consumer_next(consumer, 10 * SECOND, &frame));
    for (int i = 0; i < READERS; i++)
        CHECK(pthread_create(&readers[i], NULL, read_frame, frame) == 0);
    for (int i = 0; i < READERS; i++)
        CHECK(pthread_join(readers[i], NULL) == 0);
    shm2_frame_free(frame);
}

static void *free_frame(void *frame) {
    shm2_frame_free(frame);
    return NULL;
}

static void *count(void *unused) {
    while (!atomic_load(&ends)) {
        shm2_producer_stats stats;
        shm2_slot *slot;
        size_t consumers;
        OK(shm2_producer_get_stats(producer, &stats, sizeof stats));
        CHECK(stats.free_bytes + stats.used_bytes == stats.arena_bytes);
        OK(shm2_producer_consumers(producer, &consumers));
        OK(shm2_producer_try_reserve(producer, 1000, &slot));
        memset(shm2_slot_data(slot), 1, 1000);
        shm2_slot_free(slot);
    }
    return unused;
}

/* Two threads publish: a call is refused while the other thread is in one. */
static void *publish(void *refused) {
    for (int sent = 0; sent < FRAMES;) {
        shm2_status status = shm2_producer_send(producer, "x", 1, 0, NULL);
        CHECK(status == SHM2_OK || status == SHM2_IN_USE);
        sent += status == SHM2_OK;
        atomic_fetch_add((atomic_int *)refused, status == SHM2_IN_USE);
    }
    return NULL;
}

static void threads_share_a_producer(void) {
    pthread_t counting, publishing[2], freeing;
    atomic_int refused = 0;
    shm2_producer_stats before, after;
    OK(shm2_producer_get_stats(producer, &before, sizeof before));
    CHECK(pthread_create(&counting, NULL, count, NULL) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&publishing[i], NULL, publish, &refused) == 0);
    for (int i = 0; i < 20; i++) {
        shm2_frame *frame;
        OK(shm2_consumer_next(consumer, 10 * SECOND, &frame));
        CHECK(pthread_create(&freeing, NULL, free_frame, frame) == 0);
        CHECK(pthread_join(freeing, NULL) == 0);
    }
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(publishing[i], NULL) == 0);
    atomic_store(&ends, true);
    CHECK(pthread_join(counting, NULL) == 0);
    OK(shm2_producer_get_stats(producer, &after, sizeof after));
    CHECK(after.published == before.published + 2 * FRAMES);
    printf("%d calls were refused, because the other thread was in one\n", atomic_load(&refused));
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    shm2_producer_options *options = shm2_producer_options_new();
    OK(shm2_producer_options_set_size(options, 8 << 20));
    OK(shm2_producer_options_set_history(options, 1000));
    OK(shm2_producer_create(argv[1], options, &producer));
    shm2_producer_options_free(options);
    a_second_thread_is_refused_and_may_cancel(argv[1]);
    many_threads_read_one_frame();
    threads_share_a_producer();
    shm2_consumer_free(consumer);
    shm2_producer_free(producer);
    return 0;
}
