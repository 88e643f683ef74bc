/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Frames by libshm2. */
#include "peer.h"

#include <shm2.h>
#include <stdio.h>

static shm2_producer *producer;
static shm2_consumer *consumer;

static bool is_ok(shm2_status status)
{
    if (status != SHM2_OK)
        fprintf(stderr, "peer: %s: %s\n", shm2_status_name(status), shm2_last_error());
    return status == SHM2_OK;
}

static bool open_sender(const char *place)
{
    shm2_producer_options *options = shm2_producer_options_new();
    /* As most of the peers do, it waits for the consumer. */
    bool is_well = is_ok(shm2_producer_options_set_arena(options, (uint64_t)(DEPTH + 4) * FRAME_BYTES))
        && is_ok(shm2_producer_options_set_full_policy(options, SHM2_FULL_BLOCK, LIMIT_NS))
        && is_ok(shm2_producer_create(place, options, &producer))
        && is_ok(shm2_producer_set_caps(producer, "video/x-raw,format=NV12,width=1920,height=1080,framerate=60/1"));
    shm2_producer_options_free(options);
    return is_well;
}

static bool begin(struct frame *frame)
{
    shm2_slot *slot;
    shm2_plane luma, chroma;
    if (!is_ok(shm2_producer_reserve(producer, FRAME_BYTES, &slot))
        || !is_ok(shm2_slot_plane(slot, 0, &luma, sizeof luma))
        || !is_ok(shm2_slot_plane(slot, 1, &chroma, sizeof chroma)))
        return false;
    uint8_t *data = shm2_slot_data(slot);
    *frame = (struct frame){data + luma.offset, data + chroma.offset, (size_t)luma.stride, {slot, NULL}};
    return true;
}

static bool publish(struct frame *frame)
{
    return is_ok(shm2_producer_publish(producer, frame->own[0], NULL));
}

static bool open_receiver(const char *place)
{
    return is_ok(shm2_consumer_open(place, NULL, &consumer));
}

static bool next(struct frame *frame)
{
    shm2_frame *taken;
    shm2_plane luma, chroma;
    if (!is_ok(shm2_consumer_next(consumer, LIMIT_NS, &taken))
        || !is_ok(shm2_frame_plane(taken, 0, &luma, sizeof luma))
        || !is_ok(shm2_frame_plane(taken, 1, &chroma, sizeof chroma)))
        return false;
    /* It is only read. */
    *frame = (struct frame){(uint8_t *)luma.data, (uint8_t *)chroma.data, (size_t)luma.stride, {taken, NULL}};
    return true;
}

static void release(struct frame *frame)
{
    shm2_frame_free(frame->own[0]);
}

static void close_all(void)
{
    shm2_producer_free(producer);
    shm2_consumer_free(consumer);
}

const struct way shm2_way = {"shm2", open_sender, begin, publish, open_receiver, next, release, close_all};
