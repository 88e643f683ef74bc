/* Everything that is set is read again: round_trip NAME */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <poll.h>

static const char *name;

static shm2_frame *next(shm2_consumer *consumer) {
    shm2_frame *frame;
    OK(shm2_consumer_next(consumer, 10 * SECOND, &frame));
    return frame;
}

static shm2_producer *create(void) {
    shm2_producer_options *options = shm2_producer_options_new();
    OK(shm2_producer_options_set_arena(options, 4 << 20));
    OK(shm2_producer_options_set_perms(options, 0600));
    OK(shm2_producer_options_set_full_policy(options, SHM2_FULL_BLOCK, SECOND / 100));
    OK(shm2_producer_options_set_history(options, 4));
    OK(shm2_producer_options_set_max_leases(options, 8));
    OK(shm2_producer_options_set_beacon(options, SECOND / 10));
    OK(shm2_producer_options_set_keep_region(options, false));
    OK(shm2_producer_options_set_foreign_owner(options, false));
    OK(shm2_producer_options_set_lease_time(options, SECOND));
    shm2_producer *producer;
    OK(shm2_producer_create(name, options, &producer));
    shm2_producer_options_free(options);
    CHECK(strcmp(shm2_producer_path(producer), name) == 0);
    return producer;
}

static shm2_consumer *attach(void) {
    shm2_consumer_options *options = shm2_consumer_options_new();
    OK(shm2_consumer_options_set_access(options, SHM2_ACCESS_LEASE));
    OK(shm2_consumer_options_set_start(options, SHM2_START_OLDEST));
    OK(shm2_consumer_options_set_latest(options, false));
    OK(shm2_consumer_options_set_lag_limit(options, 0));
    OK(shm2_consumer_options_set_max_leases(options, 4));
    OK(shm2_consumer_options_set_on_exit(options, SHM2_ON_EXIT_ERROR));
    OK(shm2_consumer_options_set_spin(options, 1000));
    OK(shm2_consumer_options_set_wake_ahead(options, true));
    OK(shm2_consumer_options_set_liveness(options, SHM2_LIVENESS_LOCK));
    OK(shm2_consumer_options_set_events(options, true));
    shm2_consumer *consumer;
    OK(shm2_consumer_attach(name, options, 10 * SECOND, &consumer));
    shm2_consumer_options_free(options);
    uint64_t generation = 0;
    OK(shm2_consumer_generation(consumer, &generation));
    CHECK(generation != 0);
    CHECK(strstr(shm2_consumer_waiting_for(consumer), "published nothing") != NULL);
    return consumer;
}

static void info(shm2_producer *producer, shm2_consumer *consumer) {
    shm2_slot *slot;
    OK(shm2_producer_set_stream(producer, "text/plain", "blob", 4));
    OK(shm2_producer_reserve(producer, 5, &slot));
    CHECK(shm2_slot_size(slot) == 5 && (uintptr_t)shm2_slot_data(slot) % 64 == 0);
    memcpy(shm2_slot_data(slot), "hello", 5);
    OK(shm2_slot_write(slot, 4, "!", 1));
    OK(shm2_slot_set_pts(slot, 1));
    OK(shm2_slot_set_dts(slot, -5));
    OK(shm2_slot_set_duration(slot, 3));
    OK(shm2_slot_set_time(slot, 4));
    OK(shm2_slot_set_offset(slot, 5));
    OK(shm2_slot_set_offset_end(slot, 6));
    OK(shm2_slot_set_latency(slot, 7));
    OK(shm2_slot_set_flags(slot, 0x2000));
    OK(shm2_slot_set_meta(slot, "meta", 4));
    uint64_t sequence = 0, before = shm2_monotonic_ns();
    OK(shm2_producer_publish(producer, slot, &sequence));

    shm2_frame *frame = next(consumer);
    size_t size = 0;
    CHECK(sequence == 1 && shm2_frame_sequence(frame) == 1 && shm2_frame_missed(frame) == 0);
    CHECK(shm2_frame_size(frame) == 5 && memcmp(shm2_frame_data(frame), "hell!", 5) == 0);
    CHECK(shm2_frame_is_leased(frame) && !shm2_frame_is_event(frame) && shm2_frame_is_delta(frame));
    (void)shm2_frame_is_discontinuity(frame);
    CHECK(shm2_frame_pts(frame) == 1 && shm2_frame_dts(frame) == -5 && shm2_frame_duration(frame) == 3);
    CHECK(shm2_frame_time(frame) == 4 && shm2_frame_offset(frame) == 5 && shm2_frame_offset_end(frame) == 6);
    CHECK(shm2_frame_latency(frame) == 7 && shm2_frame_flags(frame) == 0x2000);
    CHECK(shm2_frame_published(frame) >= before && shm2_frame_published(frame) != SHM2_NONE);
    CHECK(strcmp(shm2_frame_caps(frame, &size), "text/plain") == 0 && size == 10);
    CHECK(shm2_frame_caps_number(frame) != 0);
    CHECK(memcmp(shm2_frame_stream_blob(frame, &size), "blob", 4) == 0 && size == 4);
    CHECK(memcmp(shm2_frame_meta(frame, &size), "meta", 4) == 0 && size == 4);
    CHECK(shm2_frame_media_kind(frame) == SHM2_MEDIA_TEXT);
    CHECK(strcmp(shm2_frame_media_type(frame), "text/plain") == 0);
    char part[4] = {0};
    OK(shm2_frame_read(frame, 1, part, 3));
    CHECK(strcmp(part, "ell") == 0);
    OK(shm2_frame_check(frame));
    shm2_frame_free(frame);

    OK(shm2_producer_send(producer, "x", 1, SHM2_NONE, &sequence));
    OK(shm2_producer_send_event(producer, "scene", 5, 9, &sequence));
    CHECK(sequence == 3);
    frame = next(consumer);
    CHECK(shm2_frame_pts(frame) == SHM2_NONE && shm2_frame_dts(frame) == SHM2_NO_DTS);
    CHECK(shm2_frame_duration(frame) == SHM2_NONE && shm2_frame_meta(frame, &size) == NULL && size == 0);
    shm2_frame_free(frame);
    frame = next(consumer);
    CHECK(shm2_frame_is_event(frame) && shm2_frame_size(frame) == 0 && shm2_frame_pts(frame) == 9);
    CHECK(memcmp(shm2_frame_meta(frame, NULL), "scene", 5) == 0);
    shm2_frame_free(frame);
}

static void video(shm2_producer *producer, shm2_consumer *consumer) {
    size_t bytes = 0;
    shm2_slot *slot;
    shm2_plane plane;
    OK(shm2_producer_set_caps(producer, "video/x-raw,format=NV12,width=6,height=4,framerate=30000/1001,"
                                        "colorimetry=bt709,pixel-aspect-ratio=4/3"));
    OK(shm2_producer_frame_size(producer, &bytes));
    CHECK(bytes == 8 * 6); /* a stride of 8 for 6 pixels, 4 rows and 2 */
    OK(shm2_producer_try_reserve(producer, bytes, &slot));
    for (uint32_t index = 0; index < 2; index++) {
        OK(shm2_slot_plane(slot, index, &plane, sizeof plane));
        CHECK(plane.data == (uint8_t *)shm2_slot_data(slot) + plane.offset);
        for (uint32_t row = 0; row < plane.rows; row++)
            memset((uint8_t *)shm2_slot_data(slot) + plane.offset + row * plane.stride, index == 0 ? 235 : 128,
                   plane.row_bytes);
    }
    OK(shm2_producer_publish(producer, slot, NULL));

    shm2_frame *frame = next(consumer);
    shm2_video video;
    OK(shm2_frame_video(frame, &video, sizeof video));
    CHECK(strcmp(video.format, "NV12") == 0 && video.width == 6 && video.height == 4 && video.planes == 2);
    CHECK(video.rate_numerator == 30000 && video.rate_denominator == 1001);
    CHECK(video.aspect_numerator == 4 && video.aspect_denominator == 3);
    CHECK(strcmp(video.colorimetry, "bt709") == 0 && video.color_range == 2 && video.color_matrix == 3);
    CHECK(video.color_transfer == 5 && video.color_primaries == 1);
    CHECK(strcmp(video.interlace_mode, "progressive") == 0 && video.frame_bytes == bytes);
    CHECK(video.visible_x == 0 && video.visible_y == 0 && video.visible_width == 6 && video.visible_height == 4);
    CHECK(video.stored_width == 6 && video.stored_height == 4);
    OK(shm2_frame_plane(frame, 1, &plane, sizeof plane));
    CHECK(plane.data == (const uint8_t *)shm2_frame_data(frame) + 32 && plane.offset == 32 && plane.stride == 8);
    CHECK(plane.rows == 2 && plane.row_bytes == 6 && plane.element_bytes == 2 && plane.element_pixels == 2);
    CHECK(plane.tile_columns == 0 && plane.data[0] == 128);

    uint8_t rgb[4 * 20];
    memset(rgb, 7, sizeof rgb);
    OK(shm2_frame_to_rgb(frame, rgb, 20, sizeof rgb));
    CHECK(rgb[0] >= 254 && rgb[17] >= 254 && rgb[18] == 7 && rgb[20] >= 254 && rgb[60 + 17] >= 254);
    OK(shm2_frame_to_rgb(frame, rgb, 0, 72));
    CHECK(rgb[71] >= 254);

    /* An older program knows fewer members, a newer one more. */
    struct {
        const char *format;
        uint32_t width;
        uint32_t guard;
    } old = {NULL, 0, 99};
    OK(shm2_frame_video(frame, (shm2_video *)&old, offsetof(shm2_video, height)));
    CHECK(strcmp(old.format, "NV12") == 0 && old.width == 6 && old.guard == 99);
    struct {
        shm2_plane plane;
        uint64_t later;
    } newer = {.later = 99};
    OK(shm2_frame_plane(frame, 0, &newer.plane, sizeof newer));
    CHECK(newer.plane.rows == 4 && newer.later == 0);
    shm2_frame_free(frame);
}

static void audio(shm2_producer *producer, shm2_consumer *consumer) {
    static const int16_t samples[] = {1, -1, 2, -2, 3, -3};
    shm2_audio audio;
    shm2_channel channel;
    OK(shm2_producer_set_caps(producer, "audio/x-raw,format=S16LE,rate=48000,channels=2,channel-mask=(bitmask)0x3"));
    OK(shm2_producer_send(producer, samples, sizeof samples, 0, NULL));
    shm2_frame *frame = next(consumer);
    CHECK(shm2_frame_media_kind(frame) == SHM2_MEDIA_AUDIO);
    OK(shm2_frame_audio(frame, &audio, sizeof audio));
    CHECK(strcmp(audio.format, "S16LE") == 0 && audio.rate == 48000 && audio.channels == 2 && audio.samples == 3);
    CHECK(!audio.is_planar && audio.sample_kind == SHM2_SAMPLE_SIGNED && audio.sample_bytes == 2);
    CHECK(audio.sample_bits == 16 && !audio.is_big_endian && audio.has_channel_mask && audio.channel_mask == 3);
    OK(shm2_frame_channel(frame, 1, &channel, sizeof channel));
    CHECK(channel.step == 4 && channel.samples == 3);
    int16_t last;
    memcpy(&last, channel.data + 2 * channel.step, sizeof last);
    CHECK(last == -3);
    shm2_frame_free(frame);

    OK(shm2_producer_set_caps(producer, "audio/x-raw,format=S16LE,rate=8000,channels=2,layout=non-interleaved"));
    OK(shm2_producer_send(producer, samples, sizeof samples, 0, NULL));
    frame = next(consumer);
    OK(shm2_frame_audio(frame, &audio, sizeof audio));
    OK(shm2_frame_channel(frame, 1, &channel, sizeof channel));
    CHECK(audio.is_planar && channel.step == 2 && channel.data == (const uint8_t *)shm2_frame_data(frame) + 6);
    shm2_frame_free(frame);
}

static void encoded(shm2_producer *producer, shm2_consumer *consumer) {
    shm2_encoded encoded;
    OK(shm2_producer_set_caps(producer, "video/x-h264,stream-format=avc,alignment=au,profile=high,level=(string)4.1,"
                                        "width=1920,height=1080,framerate=25/1,codec_data=(buffer)0164"));
    OK(shm2_producer_send(producer, "unit", 4, 0, NULL));
    shm2_frame *frame = next(consumer);
    CHECK(shm2_frame_media_kind(frame) == SHM2_MEDIA_ENCODED);
    OK(shm2_frame_encoded(frame, &encoded, sizeof encoded));
    CHECK(strcmp(encoded.codec, "H.264") == 0 && strcmp(encoded.profile, "high") == 0);
    CHECK(strcmp(encoded.level, "4.1") == 0 && strcmp(encoded.stream_format, "avc") == 0);
    CHECK(strcmp(encoded.alignment, "au") == 0 && encoded.width == 1920 && encoded.height == 1080);
    CHECK(encoded.rate_numerator == 25 && encoded.rate_denominator == 1 && encoded.rate == 0);
    CHECK(encoded.channels == 0 && encoded.codec_data_size == 2 && memcmp(encoded.codec_data, "\x01\x64", 2) == 0);
    shm2_frame_free(frame);
}

static void counters(shm2_producer *producer, shm2_consumer *consumer) {
    size_t consumers = 0;
    bool is = true;
    uint32_t changes = 0;
    uint64_t requests = 9, local = 0;
    shm2_producer_stats sent;
    shm2_consumer_stats taken;
    /* On a slow machine the number is that of the last look, some time ago. */
    for (int looks = 0; consumers != 1; looks++) {
        CHECK(looks < 10000);
        OK(shm2_producer_consumers(producer, &consumers));
        (void)poll(NULL, 0, consumers == 1 ? 0 : 1);
    }
    OK(shm2_producer_has_snapshots(producer, &is));
    CHECK(!is);
    OK(shm2_producer_lost_name(producer, &is));
    CHECK(!is);
    OK(shm2_producer_check(producer));
    OK(shm2_producer_keyframe_requests(producer, &requests));
    OK(shm2_producer_changes(producer, &changes));
    uint64_t before = requests;
    OK(shm2_consumer_request_keyframe(consumer, &is));
    CHECK(is);
    OK(shm2_producer_wait_change(producer, changes, 10 * SECOND));
    OK(shm2_producer_keyframe_requests(producer, &requests));
    CHECK(requests == before + 1);
    do /* the system may report an attach or a request several times */
        OK(shm2_producer_changes(producer, &changes));
    while (shm2_producer_wait_change(producer, changes, SECOND / 10) == SHM2_OK);
    IS(SHM2_TIMED_OUT, shm2_producer_wait_change(producer, changes, 0));
    SAYS("nothing changed in time");
    OK(shm2_producer_drain(producer, 10 * SECOND));
    OK(shm2_producer_get_stats(producer, &sent, sizeof sent));
    CHECK(sent.published == 7 && sent.free_bytes + sent.used_bytes == sent.arena_bytes && sent.arena_bytes >= 4 << 20);
    OK(shm2_consumer_get_stats(consumer, &taken, sizeof taken));
    CHECK(taken.received == 6 && taken.missed == 0 && taken.attaches == 1 && taken.copied == 0);
    OK(shm2_consumer_to_local(consumer, 1234, &local));
    CHECK(local == 1234);
}

static void regions(void) {
    shm2_regions *regions;
    const shm2_region *found = NULL;
    shm2_region *region;
    shm2_region_state state;
    shm2_region_consumer consumer;
    size_t size = 0;
    OK(shm2_regions_list(NULL, &regions));
    for (size_t index = 0; index < shm2_regions_count(regions); index++)
        if (strcmp(shm2_region_path(shm2_regions_at(regions, index)), name) == 0)
            found = shm2_regions_at(regions, index);
    CHECK(found != NULL && strncmp(shm2_region_name(found), "shm://", 6) == 0);
    CHECK(strcmp(shm2_region_name(found) + 6, name) == 0);
    shm2_regions_free(regions);

    OK(shm2_region_inspect(name, &region));
    CHECK(strncmp(shm2_region_caps(region, &size), "video/x-h264", 12) == 0 && size > 12);
    OK(shm2_region_get_state(region, &state, sizeof state));
    CHECK(state.newest == 7 && state.frame_bytes == 4 && state.consumers == 1 && state.max_leases == 8);
    CHECK(state.history == 4 && state.full_policy == SHM2_FULL_BLOCK && !state.is_kept && state.producer_pid != 0);
    CHECK(state.bytes > state.arena_bytes && state.generation != 0 && state.created_ns != 0);
    CHECK(state.age_ns != SHM2_NONE && state.published_ns != SHM2_NONE && state.dropped_newest == 0);
    OK(shm2_region_get_consumer(region, 0, &consumer, sizeof consumer));
    CHECK(consumer.pid == state.producer_pid && consumer.received == 6 && consumer.lag == 0 && consumer.held == 0);
    shm2_region_free(region);
}

static bool is_readable(int fd, int timeout_ms) {
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    int ready = poll(&entry, 1, timeout_ms);
    CHECK(ready >= 0);
    return ready == 1 && entry.revents == POLLIN;
}

/* Nothing waits. The descriptor is not readable then; it may be for a moment, as there may be something. */
static void is_idle(shm2_consumer *consumer, int fd) {
    shm2_frame *frame;
    int looks = 0;
    do {
        IS(SHM2_TIMED_OUT, shm2_consumer_try_next(consumer, &frame));
        CHECK(frame == NULL && ++looks < 1000);
    } while (is_readable(fd, 10));
}

static void descriptor(shm2_producer *producer, shm2_consumer *consumer) {
    int fd = -1, again = -1;
    shm2_frame *frame;
    OK(shm2_consumer_fd(consumer, &fd));
    OK(shm2_consumer_fd(consumer, &again));
    CHECK(fd >= 0 && fd == again && is_readable(fd, 0));
    is_idle(consumer, fd);
    OK(shm2_producer_send(producer, "frame", 5, 0, NULL));
    CHECK(is_readable(fd, 10000));
    OK(shm2_consumer_try_next(consumer, &frame));
    shm2_frame_free(frame);
    is_idle(consumer, fd);
}

static void ends(shm2_producer *producer, shm2_consumer *consumer) {
    shm2_frame *frame;
    OK(shm2_producer_end_of_stream(producer));
    IS(SHM2_END_OF_STREAM, shm2_consumer_next(consumer, 10 * SECOND, &frame));
    CHECK(frame == NULL);
    IS(SHM2_TIMED_OUT, shm2_consumer_try_next(consumer, &frame));
    OK(shm2_consumer_cancel(consumer, true));
    IS(SHM2_CANCELLED, shm2_consumer_next(consumer, -1, &frame));
    OK(shm2_consumer_cancel(consumer, false));

    /* Frames and slots outlive their consumer and producer. */
    OK(shm2_consumer_set_latest(consumer, true));
    OK(shm2_consumer_set_lag_limit(consumer, 0));
    OK(shm2_producer_send(producer, "last", 4, 0, NULL));
    frame = next(consumer);
    shm2_slot *slot;
    OK(shm2_producer_reserve(producer, 100, &slot));
    shm2_producer_free(producer);
    IS(SHM2_GONE, shm2_consumer_next(consumer, 10 * SECOND, &(shm2_frame *){NULL}));
    shm2_consumer_free(consumer);
    CHECK(memcmp(shm2_frame_data(frame), "last", 4) == 0);
    memset(shm2_slot_data(slot), 1, 100);
    shm2_slot_free(slot);
    shm2_frame_free(frame);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    name = argv[1];
    shm2_producer *producer = create();
    shm2_consumer *consumer = attach();
    info(producer, consumer);
    video(producer, consumer);
    audio(producer, consumer);
    encoded(producer, consumer);
    counters(producer, consumer);
    regions();
    descriptor(producer, consumer);
    ends(producer, consumer);
    return 0;
}
