/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Frames by appsrc ! shmsink and shmsrc ! appsink. `shmsink` has buffers of a pool in the sink's own memory,
 * `shmsink-heap` those of a pool in ordinary memory. */
#include "peer.h"

#include <gst/app/gstappsink.h>
#include <gst/app/gstappsrc.h>
#include <gst/gst.h>
#include <stdlib.h>

#define CAPS "video/x-raw,format=NV12,width=1920,height=1080,framerate=60/1"

static GstElement *pipeline, *source, *sink;
static GstBufferPool *pool;

static bool fail(const char *what)
{
    g_printerr("peer: %s\n", what);
    return false;
}

static bool start(char *text)
{
    GError *error = NULL;
    gst_init(NULL, NULL);
    pipeline = gst_parse_launch(text, &error);
    g_free(text);
    if (error != NULL)
        return fail(error->message);
    source = gst_bin_get_by_name(GST_BIN(pipeline), "source");
    sink = gst_bin_get_by_name(GST_BIN(pipeline), "sink");
    return gst_element_set_state(pipeline, GST_STATE_PLAYING) != GST_STATE_CHANGE_FAILURE
        || fail("the pipeline does not start");
}

/* The allocator that the sink offers; NULL if it offers none. */
static GstAllocator *allocator_of_sink(GstCaps *caps)
{
    GstQuery *query = gst_query_new_allocation(caps, FALSE);
    GstPad *pad = gst_element_get_static_pad(sink, "sink");
    GstAllocator *allocator = NULL;
    if (gst_pad_query(pad, query) && gst_query_get_n_allocation_params(query) > 0)
        gst_query_parse_nth_allocation_param(query, 0, &allocator, NULL);
    gst_object_unref(pad);
    gst_query_unref(query);
    return allocator;
}

static bool make_pool(bool is_own)
{
    GstCaps *caps = gst_caps_from_string(CAPS);
    GstAllocator *allocator = is_own ? allocator_of_sink(caps) : NULL;
    if (is_own && allocator == NULL)
        return fail("the sink offers no allocator");
    pool = gst_buffer_pool_new();
    GstStructure *config = gst_buffer_pool_get_config(pool);
    gst_buffer_pool_config_set_params(config, caps, FRAME_BYTES, 0, DEPTH);
    if (is_own)
        gst_buffer_pool_config_set_allocator(config, allocator, NULL);
    gst_caps_unref(caps);
    gst_clear_object(&allocator);
    return (gst_buffer_pool_set_config(pool, config) && gst_buffer_pool_set_active(pool, TRUE))
        || fail("the pool cannot be used");
}

static bool open_sender(const char *place, bool is_own)
{
    return start(g_strdup_printf("appsrc name=source caps=" CAPS " format=time block=true max-bytes=%d "
                                 "! shmsink name=sink socket-path=%s shm-size=%d sync=false wait-for-connection=true",
                                 FRAME_BYTES, place, (DEPTH + 4) * FRAME_BYTES))
        && make_pool(is_own);
}

static bool open_own(const char *place)
{
    return open_sender(place, true);
}

static bool open_heap(const char *place)
{
    return open_sender(place, false);
}

/* A mapped buffer. */
static bool map_buffer(struct frame *frame, GstBuffer *buffer, GstMapFlags flags, void *owner)
{
    GstMapInfo *map = malloc(sizeof *map);
    if (map == NULL || !gst_buffer_map(buffer, map, flags) || map->size < FRAME_BYTES)
        return fail("a buffer cannot be mapped");
    set_planes(frame, map->data);
    frame->own[0] = owner;
    frame->own[1] = map;
    return true;
}

static void unmap_buffer(struct frame *frame, GstBuffer *buffer)
{
    gst_buffer_unmap(buffer, frame->own[1]);
    free(frame->own[1]);
}

static bool begin(struct frame *frame)
{
    GstBuffer *buffer;
    return (gst_buffer_pool_acquire_buffer(pool, &buffer, NULL) == GST_FLOW_OK || fail("the pool has no buffer"))
        && map_buffer(frame, buffer, GST_MAP_WRITE, buffer);
}

static bool publish(struct frame *frame)
{
    GstBuffer *buffer = frame->own[0];
    unmap_buffer(frame, buffer);
    return gst_app_src_push_buffer(GST_APP_SRC(source), buffer) == GST_FLOW_OK || fail("a buffer was refused");
}

static bool open_receiver(const char *place)
{
    return start(g_strdup_printf("shmsrc socket-path=%s is-live=true ! " CAPS " ! appsink name=sink sync=false",
                                 place));
}

static bool next(struct frame *frame)
{
    GstSample *sample = gst_app_sink_try_pull_sample(GST_APP_SINK(sink), LIMIT_NS);
    return (sample != NULL || fail("no frame came, or the stream ended"))
        && map_buffer(frame, gst_sample_get_buffer(sample), GST_MAP_READ, sample);
}

static void release(struct frame *frame)
{
    unmap_buffer(frame, gst_sample_get_buffer(frame->own[0]));
    gst_sample_unref(frame->own[0]);
}

static void close_all(void)
{
    if (pool != NULL)
        gst_buffer_pool_set_active(pool, FALSE);
    gst_element_set_state(pipeline, GST_STATE_NULL);
}

const struct way shmsink_way = {"shmsink", open_own, begin, publish, open_receiver, next, release, close_all};
const struct way shmsink_heap_way = {
    "shmsink-heap", open_heap, begin, publish, open_receiver, next, release, close_all,
};
