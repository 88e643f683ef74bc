/* Another process truncates the file while it is in use: truncated NAME */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <unistd.h>

enum { BYTES = 1 << 20 };

static uint64_t sum(const shm2_frame *frame) {
    const volatile uint8_t *bytes = shm2_frame_data(frame);
    uint64_t sum = 0;
    for (size_t i = 0; i < shm2_frame_size(frame); i++)
        sum += bytes[i];
    return sum;
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    shm2_producer *producer;
    shm2_consumer *consumer;
    shm2_frame *frame;
    shm2_producer_options *options = shm2_producer_options_new();
    OK(shm2_producer_options_set_size(options, 16 << 20));
    OK(shm2_producer_create(argv[1], options, &producer));
    shm2_producer_options_free(options);
    char *bytes = malloc(BYTES);
    memset(bytes, 1, BYTES);
    OK(shm2_producer_send(producer, bytes, BYTES, 0, NULL));
    OK(shm2_consumer_open(argv[1], NULL, &consumer));
    OK(shm2_consumer_next(consumer, 10 * SECOND, &frame));
    CHECK(shm2_frame_is_leased(frame) && sum(frame) == BYTES);
    OK(shm2_frame_check(frame));

    CHECK(truncate(argv[1], 1 << 20) == 0);
    CHECK(sum(frame) == 0); /* no SIGBUS */
    IS(SHM2_TRUNCATED, shm2_frame_check(frame));
    IS(SHM2_TRUNCATED, shm2_frame_read(frame, 0, bytes, BYTES));
    SAYS("truncated");
    shm2_frame_free(frame);

    shm2_status status = SHM2_OK;
    for (int i = 0; i < 100 && status == SHM2_OK; i++)
        status = shm2_producer_send(producer, bytes, BYTES, 0, NULL);
    IS(SHM2_TRUNCATED, status);
    SAYS("close this producer and make a new one");
    do {
        status = shm2_consumer_next(consumer, 10 * SECOND, &frame);
        shm2_frame_free(frame);
    } while (status == SHM2_OK);
    IS(SHM2_TRUNCATED, status);
    IS(SHM2_INCOMPATIBLE, shm2_consumer_next(consumer, 0, &frame));

    shm2_producer_free(producer);
    OK(shm2_producer_create(argv[1], NULL, &producer));
    OK(shm2_producer_send(producer, "new", 3, 0, NULL));
    OK(shm2_consumer_next(consumer, 10 * SECOND, &frame));
    CHECK(shm2_frame_size(frame) == 3 && shm2_frame_is_discontinuity(frame));
    shm2_frame_free(frame);
    shm2_consumer_free(consumer);
    shm2_producer_free(producer);
    free(bytes);
    return 0;
}
