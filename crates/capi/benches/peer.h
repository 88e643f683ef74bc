/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The ways that peer.c measures, and the frames that they carry: 1080p NV12. */
#ifndef PEER_H
#define PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIDTH 1920
#define HEIGHT 1080
#define FRAME_BYTES (WIDTH * HEIGHT * 3 / 2)
/* Frames in flight at most. */
#define DEPTH 16
/* Longest time without a frame. */
#define LIMIT_NS 10000000000LL

/* Both planes of a frame that is written or read. */
struct frame {
    uint8_t *luma;
    uint8_t *chroma;
    size_t stride;
    /* What belongs to the way. */
    void *own[2];
};

/* One way to send and to receive. Each function prints the reason on stderr when it returns false. */
struct way {
    const char *name;
    bool (*open_sender)(const char *place);
    /* Memory for a frame; published by `publish`. */
    bool (*begin)(struct frame *frame);
    bool (*publish)(struct frame *frame);
    bool (*open_receiver)(const char *place);
    /* The next frame; held until `release`. */
    bool (*next)(struct frame *frame);
    void (*release)(struct frame *frame);
    void (*close)(void);
};

extern const struct way shm2_way, shmsink_way, shmsink_heap_way;

/* The planes of a frame without gaps. */
void set_planes(struct frame *frame, uint8_t *data);

#endif
