/* Prints the frames of a region: consumer [NAME] [FRAMES]
 *
 * cc -std=c11 -o consumer consumer.c $(pkg-config --cflags --libs shm2) */
#include <inttypes.h>
#include <shm2.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t sum(const shm2_plane *plane) {
    uint64_t sum = 0;
    for (uint32_t row = 0; row < plane->rows; row++)
        for (uint64_t column = 0; column < plane->row_bytes; column++)
            sum += plane->data[row * plane->stride + column];
    return sum;
}

static void print(const shm2_frame *frame) {
    printf("%" PRIu64 ": %zu bytes, %" PRIu64 " missed before it", shm2_frame_sequence(frame), shm2_frame_size(frame),
           shm2_frame_missed(frame));
    if (shm2_frame_pts(frame) != SHM2_NONE)
        printf(", due at %.3f s", (double)shm2_frame_pts(frame) / 1e9);

    shm2_video video;
    shm2_plane plane;
    if (shm2_frame_video(frame, &video, sizeof video) == SHM2_OK &&
        shm2_frame_plane(frame, 0, &plane, sizeof plane) == SHM2_OK) {
        printf(", %s %" PRIu32 "x%" PRIu32 " at %" PRId32 "/%" PRId32, video.format, video.width, video.height,
               video.rate_numerator, video.rate_denominator);
        printf(", mean of plane 0 %.1f", (double)sum(&plane) / ((double)plane.rows * (double)plane.row_bytes));
    }
    printf("\n");
    fflush(stdout);
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "/dev/shm/shm2-example";
    unsigned long frames = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    shm2_consumer *consumer;
    shm2_frame *frame;

    shm2_status status = shm2_consumer_open(name, NULL, &consumer);
    for (unsigned long count = 0; status == SHM2_OK && (frames == 0 || count < frames);) {
        status = shm2_consumer_next(consumer, 2000000000, &frame);
        if (status == SHM2_OK) {
            print(frame);
            shm2_frame_free(frame); /* the producer can reuse its memory */
            count++;
        } else if (status == SHM2_TIMED_OUT) {
            fprintf(stderr, "waiting for %s\n", shm2_consumer_waiting_for(consumer));
            status = SHM2_OK;
        }
    }
    int code = status == SHM2_OK || status == SHM2_END_OF_STREAM ? 0 : 1;
    if (code != 0)
        fprintf(stderr, "consumer: %s (%s)\n", shm2_last_error(), shm2_status_name(status));
    shm2_consumer_free(consumer);
    return code;
}
