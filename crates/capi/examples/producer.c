/* Publishes a moving bar: producer [NAME] [FRAMES]
 *
 * cc -std=c11 -o producer producer.c $(pkg-config --cflags --libs shm2) */
#define _POSIX_C_SOURCE 200809L
#include <shm2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int failed(const char *what, shm2_status status) {
    fprintf(stderr, "producer: cannot %s: %s (%s)\n", what, shm2_last_error(), shm2_status_name(status));
    return 1;
}

/* Draws into the region itself: a grey picture with a bright bar. */
static shm2_status draw(shm2_slot *slot, unsigned number) {
    uint8_t *first = shm2_slot_data(slot);
    for (uint32_t index = 0; index < 2; index++) {
        shm2_plane plane;
        shm2_status status = shm2_slot_plane(slot, index, &plane, sizeof plane);
        if (status != SHM2_OK)
            return status;
        for (uint32_t row = 0; row < plane.rows; row++) {
            uint8_t *pixels = first + plane.offset + row * plane.stride;
            memset(pixels, index == 0 ? 64 : 128, plane.row_bytes);
            if (index == 0)
                memset(pixels + number * 4 % (plane.row_bytes - 16), 235, 16);
        }
    }
    return SHM2_OK;
}

static shm2_status publish(shm2_producer *producer, unsigned number) {
    size_t bytes;
    shm2_slot *slot;
    shm2_status status = shm2_producer_frame_size(producer, &bytes);
    if (status == SHM2_OK)
        status = shm2_producer_reserve(producer, bytes, &slot);
    if (status != SHM2_OK)
        return status;
    status = draw(slot, number);
    if (status != SHM2_OK) {
        shm2_slot_free(slot); /* not published: its memory is free again */
        return status;
    }
    shm2_slot_set_pts(slot, number * UINT64_C(40000000));
    shm2_slot_set_duration(slot, UINT64_C(40000000));
    return shm2_producer_publish(producer, slot, NULL); /* frees the slot */
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "/dev/shm/shm2-example";
    unsigned long frames = argc > 2 ? strtoul(argv[2], NULL, 10) : 250;
    const struct timespec pause = {0, 40000000};
    shm2_producer *producer;

    shm2_producer_options *options = shm2_producer_options_new();
    shm2_producer_options_set_size(options, 8 << 20);
    shm2_status status = shm2_producer_create(name, options, &producer);
    shm2_producer_options_free(options);
    if (status != SHM2_OK)
        return failed("create the region", status);
    status = shm2_producer_set_caps(producer, "video/x-raw,format=NV12,width=320,height=180,framerate=25/1");

    for (unsigned number = 0; status == SHM2_OK && number < frames; number++) {
        status = publish(producer, number);
        if (shm2_is_drop(status)) {
            fprintf(stderr, "producer: %s\n", shm2_last_error());
            status = SHM2_OK;
        }
        nanosleep(&pause, NULL);
    }
    if (status != SHM2_OK) {
        failed("publish", status);
    } else {
        shm2_producer_end_of_stream(producer);
        shm2_producer_drain(producer, 1000000000);
    }
    shm2_producer_free(producer);
    return status == SHM2_OK ? 0 : 1;
}
