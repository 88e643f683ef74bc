/* Writes the newest picture of a region as a PPM file: snapshot NAME FILE
 *
 * cc -std=c11 -o snapshot snapshot.c $(pkg-config --cflags --libs shm2) */
#include <inttypes.h>
#include <shm2.h>
#include <stdio.h>
#include <stdlib.h>

static shm2_status write_picture(const shm2_frame *frame, const char *path) {
    shm2_video video;
    shm2_status status = shm2_frame_video(frame, &video, sizeof video);
    if (status != SHM2_OK)
        return status;
    size_t bytes = (size_t)3 * video.visible_width * video.visible_height;
    void *rgb = malloc(bytes);
    if (rgb == NULL)
        return SHM2_NO_MEMORY;
    status = shm2_frame_to_rgb(frame, rgb, 0, bytes);
    FILE *file = status == SHM2_OK ? fopen(path, "wb") : NULL;
    if (file != NULL) {
        fprintf(file, "P6\n%" PRIu32 " %" PRIu32 "\n255\n", video.visible_width, video.visible_height);
        int is_whole = fwrite(rgb, 1, bytes, file) == bytes;
        if (fclose(file) != 0 || !is_whole)
            status = SHM2_SYSTEM;
    } else if (status == SHM2_OK) {
        status = SHM2_SYSTEM;
    }
    free(rgb);
    if (status == SHM2_SYSTEM)
        perror(path);
    return status;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: snapshot NAME FILE\n");
        return 2;
    }
    shm2_consumer *consumer;
    shm2_frame *frame = NULL;
    shm2_consumer_options *options = shm2_consumer_options_new();
    /* A copy of the frame: needs no write permission for the region, and disturbs no other consumer. */
    shm2_consumer_options_set_access(options, SHM2_ACCESS_SNAPSHOT);
    shm2_status status = shm2_consumer_open(argv[1], options, &consumer);
    shm2_consumer_options_free(options);
    if (status == SHM2_OK)
        status = shm2_consumer_next(consumer, INT64_C(10000000000), &frame);
    if (status == SHM2_OK)
        status = write_picture(frame, argv[2]);
    if (status != SHM2_OK && status != SHM2_SYSTEM)
        fprintf(stderr, "snapshot: %s (%s)\n", shm2_last_error(), shm2_status_name(status));
    shm2_frame_free(frame);
    shm2_consumer_free(consumer);
    return status == SHM2_OK ? 0 : 1;
}
