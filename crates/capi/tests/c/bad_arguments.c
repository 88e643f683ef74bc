/* Each function with each bad argument: bad_arguments NAME */
#include "check.h"

static const char *name;

/* A getter that returns its value: the neutral one, and an error that names the handle. */
#define NEUTRAL(condition, part)                                                                                       \
    do {                                                                                                               \
        IS(SHM2_INVALID, shm2_consumer_options_set_spin(NULL, 1)); /* another error before it */                       \
        CHECK(condition);                                                                                              \
        SAYS(part);                                                                                                    \
    } while (0)

static void general(void) {
    CHECK(strcmp(shm2_last_error(), "") == 0);
    CHECK(strcmp(shm2_version(), SHM2_VERSION) == 0);
    CHECK(strcmp(shm2_status_name(SHM2_INTERNAL), "SHM2_INTERNAL") == 0);
    CHECK(strcmp(shm2_status_name((shm2_status)26), "unknown status") == 0);
    CHECK(strcmp(shm2_status_name((shm2_status)-1), "unknown status") == 0);
    CHECK(shm2_is_drop(SHM2_FULL) && !shm2_is_drop(SHM2_OK) && !shm2_is_drop((shm2_status)4000));
    CHECK(shm2_monotonic_ns() > 0);
    shm2_consumer_options_free(NULL);
    shm2_consumer_free(NULL);
    shm2_frame_free(NULL);
    shm2_producer_options_free(NULL);
    shm2_producer_free(NULL);
    shm2_slot_free(NULL);
    shm2_regions_free(NULL);
    shm2_region_free(NULL);
}

static void consumer_options(void) {
    shm2_consumer_options *options = shm2_consumer_options_new();
    CHECK(options != NULL);
    REFUSED(shm2_consumer_options_set_access(NULL, SHM2_ACCESS_AUTO), "options is NULL");
    REFUSED(shm2_consumer_options_set_access(options, (shm2_access)3), "access is 3");
    REFUSED(shm2_consumer_options_set_access(options, (shm2_access)-1), "access is 4294967295");
    REFUSED(shm2_consumer_options_set_start(NULL, SHM2_START_NEXT), "options is NULL");
    REFUSED(shm2_consumer_options_set_start(options, (shm2_start)9), "start is 9");
    REFUSED(shm2_consumer_options_set_latest(NULL, true), "options is NULL");
    REFUSED(shm2_consumer_options_set_lag_limit(NULL, 1), "options is NULL");
    REFUSED(shm2_consumer_options_set_max_leases(NULL, 1), "options is NULL");
    REFUSED(shm2_consumer_options_set_max_leases(options, 65), "max_leases is 65");
    REFUSED(shm2_consumer_options_set_on_exit(NULL, SHM2_ON_EXIT_ERROR), "options is NULL");
    REFUSED(shm2_consumer_options_set_on_exit(options, (shm2_on_exit)3), "action is 3");
    REFUSED(shm2_consumer_options_set_spin(NULL, 1), "options is NULL");
    REFUSED(shm2_consumer_options_set_wake_ahead(NULL, true), "options is NULL");
    REFUSED(shm2_consumer_options_set_liveness(NULL, SHM2_LIVENESS_LOCK), "options is NULL");
    REFUSED(shm2_consumer_options_set_liveness(options, (shm2_liveness)2), "liveness is 2");
    REFUSED(shm2_consumer_options_set_events(NULL, true), "options is NULL");
    OK(shm2_consumer_options_set_lag_limit(options, UINT64_MAX));
    OK(shm2_consumer_options_set_spin(options, UINT64_MAX));
    shm2_consumer_options_free(options);
}

static void consumer(void) {
    shm2_consumer *consumer = (shm2_consumer *)&name;
    REFUSED(shm2_consumer_open(NULL, NULL, &consumer), "name is NULL");
    CHECK(consumer == NULL);
    REFUSED(shm2_consumer_open(name, NULL, NULL), "consumer is NULL");
    REFUSED(shm2_consumer_open("", NULL, &consumer), "is empty");
    REFUSED(shm2_consumer_open("relative", NULL, &consumer), "relative");
    REFUSED(shm2_consumer_open("ftp://x", NULL, &consumer), "ftp");
    REFUSED(shm2_consumer_open("/dev/shm/\xff\xfe", NULL, &consumer), "not UTF-8");
    REFUSED(shm2_consumer_attach(NULL, NULL, 0, &consumer), "name is NULL");
    REFUSED(shm2_consumer_attach(name, NULL, 0, NULL), "consumer is NULL");
    REFUSED(shm2_consumer_attach("/dev/shm/", NULL, 0, &consumer), "directory");
    IS(SHM2_TIMED_OUT, shm2_consumer_attach(name, NULL, 0, &consumer));
    CHECK(consumer == NULL);

    shm2_frame *frame = (shm2_frame *)&name;
    REFUSED(shm2_consumer_next(NULL, 0, &frame), "consumer is NULL");
    CHECK(frame == NULL);
    REFUSED(shm2_consumer_try_next(NULL, &frame), "consumer is NULL");
    int fd = 77;
    REFUSED(shm2_consumer_fd(NULL, &fd), "consumer is NULL");
    CHECK(fd == 77);
    REFUSED(shm2_consumer_cancel(NULL, true), "consumer is NULL");
    REFUSED(shm2_consumer_set_latest(NULL, true), "consumer is NULL");
    REFUSED(shm2_consumer_set_lag_limit(NULL, 0), "consumer is NULL");
    REFUSED(shm2_consumer_request_keyframe(NULL, NULL), "consumer is NULL");
    uint64_t number = 77;
    REFUSED(shm2_consumer_generation(NULL, &number), "consumer is NULL");
    REFUSED(shm2_consumer_to_local(NULL, 0, &number), "consumer is NULL");
    CHECK(number == 77);
    NEUTRAL(shm2_consumer_waiting_for(NULL) == NULL, "consumer is NULL");
    shm2_consumer_stats stats;
    REFUSED(shm2_consumer_get_stats(NULL, &stats, sizeof stats), "consumer is NULL");

    OK(shm2_consumer_open(name, NULL, &consumer));
    REFUSED(shm2_consumer_next(consumer, 0, NULL), "frame is NULL");
    REFUSED(shm2_consumer_try_next(consumer, NULL), "frame is NULL");
    IS(SHM2_TIMED_OUT, shm2_consumer_next(consumer, 0, &frame));
    IS(SHM2_TIMED_OUT, shm2_consumer_try_next(consumer, &frame));
    REFUSED(shm2_consumer_fd(consumer, NULL), "fd is NULL");
    REFUSED(shm2_consumer_generation(consumer, NULL), "generation is NULL");
    REFUSED(shm2_consumer_to_local(consumer, 0, NULL), "local_ns is NULL");
    REFUSED(shm2_consumer_get_stats(consumer, NULL, sizeof stats), "stats is NULL");
    REFUSED(shm2_consumer_get_stats(consumer, &stats, 0), "size of stats is 0");
    REFUSED(shm2_consumer_get_stats(consumer, &stats, SIZE_MAX), "size of stats");
    OK(shm2_consumer_request_keyframe(consumer, NULL));
    shm2_consumer_free(consumer);
}

static void producer_options(void) {
    shm2_producer_options *options = shm2_producer_options_new();
    CHECK(options != NULL);
    REFUSED(shm2_producer_options_set_size(NULL, 1), "options is NULL");
    REFUSED(shm2_producer_options_set_arena(NULL, 1), "options is NULL");
    REFUSED(shm2_producer_options_set_perms(NULL, 1), "options is NULL");
    REFUSED(shm2_producer_options_set_full_policy(NULL, SHM2_FULL_BLOCK, 0), "options is NULL");
    REFUSED(shm2_producer_options_set_full_policy(options, (shm2_full_policy)3, 0), "policy is 3");
    REFUSED(shm2_producer_options_set_history(NULL, 1), "options is NULL");
    REFUSED(shm2_producer_options_set_max_leases(NULL, 1), "options is NULL");
    REFUSED(shm2_producer_options_set_beacon(NULL, 1), "options is NULL");
    REFUSED(shm2_producer_options_set_keep_region(NULL, true), "options is NULL");
    REFUSED(shm2_producer_options_set_foreign_owner(NULL, true), "options is NULL");
    REFUSED(shm2_producer_options_set_lease_time(NULL, 1), "options is NULL");

    shm2_producer *producer = (shm2_producer *)&name;
    OK(shm2_producer_options_set_size(options, 1));
    REFUSED(shm2_producer_create(name, options, &producer), "1 bytes is out of range");
    CHECK(producer == NULL);
    OK(shm2_producer_options_set_arena(options, UINT64_MAX));
    REFUSED(shm2_producer_create(name, options, &producer), "out of range");
    OK(shm2_producer_options_set_size(options, 8 << 20));
    OK(shm2_producer_options_set_perms(options, 07777));
    REFUSED(shm2_producer_create(name, options, &producer), "perms = 4095");
    OK(shm2_producer_options_set_perms(options, 0600));
    OK(shm2_producer_options_set_max_leases(options, 65));
    REFUSED(shm2_producer_create(name, options, &producer), "max-leases = 65");
    OK(shm2_producer_options_set_max_leases(options, 64));
    OK(shm2_producer_options_set_lease_time(options, UINT64_MAX));
    REFUSED(shm2_producer_create(name, options, &producer), "lease time");
    OK(shm2_producer_options_set_lease_time(options, UINT64_C(2000000000)));
    OK(shm2_producer_options_set_beacon(options, UINT64_MAX));
    OK(shm2_producer_create(name, options, &producer));
    shm2_producer_free(producer);
    shm2_producer_options_free(options);
}

static shm2_producer *producer(void) {
    shm2_producer *producer = (shm2_producer *)&name;
    REFUSED(shm2_producer_create(NULL, NULL, &producer), "name is NULL");
    CHECK(producer == NULL);
    REFUSED(shm2_producer_create(name, NULL, NULL), "producer is NULL");
    REFUSED(shm2_producer_create("x\xff", NULL, &producer), "not UTF-8");
    IS(SHM2_NOT_FOUND, shm2_producer_create("/dev/shm/no/such/folder", NULL, &producer));
    IS(SHM2_EXISTS, shm2_producer_create("/dev/null", NULL, &producer));

    shm2_slot *slot = (shm2_slot *)&name;
    size_t size = 77;
    uint64_t number;
    uint32_t small;
    bool is;
    shm2_producer_stats stats;
    NEUTRAL(shm2_producer_path(NULL) == NULL, "producer is NULL");
    REFUSED(shm2_producer_set_caps(NULL, "x"), "producer is NULL");
    REFUSED(shm2_producer_set_stream(NULL, "x", NULL, 0), "producer is NULL");
    REFUSED(shm2_producer_frame_size(NULL, &size), "producer is NULL");
    REFUSED(shm2_producer_reserve(NULL, 1, &slot), "producer is NULL");
    CHECK(slot == NULL);
    REFUSED(shm2_producer_try_reserve(NULL, 1, &slot), "producer is NULL");
    REFUSED(shm2_producer_publish(NULL, NULL, &number), "slot is NULL");
    REFUSED(shm2_producer_send(NULL, "x", 1, 0, &number), "producer is NULL");
    REFUSED(shm2_producer_send_event(NULL, "x", 1, 0, &number), "producer is NULL");
    REFUSED(shm2_producer_end_of_stream(NULL), "producer is NULL");
    REFUSED(shm2_producer_drain(NULL, 0), "producer is NULL");
    REFUSED(shm2_producer_consumers(NULL, &size), "producer is NULL");
    REFUSED(shm2_producer_has_snapshots(NULL, &is), "producer is NULL");
    REFUSED(shm2_producer_keyframe_requests(NULL, &number), "producer is NULL");
    REFUSED(shm2_producer_changes(NULL, &small), "producer is NULL");
    REFUSED(shm2_producer_wait_change(NULL, 0, 0), "producer is NULL");
    REFUSED(shm2_producer_cancel(NULL, true), "producer is NULL");
    REFUSED(shm2_producer_check(NULL), "producer is NULL");
    REFUSED(shm2_producer_lost_name(NULL, &is), "producer is NULL");
    REFUSED(shm2_producer_get_stats(NULL, &stats, sizeof stats), "producer is NULL");
    CHECK(size == 77);

    shm2_producer_options *options = shm2_producer_options_new();
    OK(shm2_producer_options_set_size(options, 8 << 20));
    OK(shm2_producer_create(name, options, &producer));
    shm2_producer *second;
    IS(SHM2_BUSY, shm2_producer_create(name, options, &second));
    shm2_producer_options_free(options);
    REFUSED(shm2_producer_set_caps(producer, NULL), "caps is NULL");
    REFUSED(shm2_producer_set_stream(producer, "x", NULL, 1), "blob is NULL, with a size of 1");
    REFUSED(shm2_producer_set_stream(producer, NULL, NULL, 0), "caps is NULL");
    REFUSED(shm2_producer_frame_size(producer, NULL), "bytes is NULL");
    IS(SHM2_MEDIA, shm2_producer_frame_size(producer, &size));
    SAYS("no caps");
    REFUSED(shm2_producer_reserve(producer, 1, NULL), "slot is NULL");
    REFUSED(shm2_producer_try_reserve(producer, 1, NULL), "slot is NULL");
    IS(SHM2_TOO_LARGE, shm2_producer_reserve(producer, SIZE_MAX, &slot));
    CHECK(slot == NULL);
    IS(SHM2_TOO_LARGE, shm2_producer_try_reserve(producer, 1 << 30, &slot));
    REFUSED(shm2_producer_publish(producer, NULL, NULL), "slot is NULL");
    REFUSED(shm2_producer_send(producer, NULL, 1, 0, NULL), "data is NULL, with a size of 1");
    REFUSED(shm2_producer_send(producer, "x", SIZE_MAX, 0, NULL), "data has");
    REFUSED(shm2_producer_send_event(producer, NULL, 1, 0, NULL), "meta is NULL");
    REFUSED(shm2_producer_consumers(producer, NULL), "consumers is NULL");
    REFUSED(shm2_producer_has_snapshots(producer, NULL), "has_snapshots is NULL");
    REFUSED(shm2_producer_keyframe_requests(producer, NULL), "requests is NULL");
    REFUSED(shm2_producer_changes(producer, NULL), "changes is NULL");
    REFUSED(shm2_producer_lost_name(producer, NULL), "lost is NULL");
    REFUSED(shm2_producer_get_stats(producer, NULL, sizeof stats), "stats is NULL");
    REFUSED(shm2_producer_get_stats(producer, &stats, 0), "size of stats is 0");
    OK(shm2_producer_send(producer, NULL, 0, SHM2_NONE, NULL));
    return producer;
}

static void slots(shm2_producer *producer) {
    shm2_plane plane;
    char byte = 0;
    NEUTRAL(shm2_slot_data(NULL) == NULL, "slot is NULL");
    NEUTRAL(shm2_slot_size(NULL) == 0, "slot is NULL");
    REFUSED(shm2_slot_write(NULL, 0, &byte, 1), "slot is NULL");
    REFUSED(shm2_slot_plane(NULL, 0, &plane, sizeof plane), "slot is NULL");
    REFUSED(shm2_slot_set_pts(NULL, 0), "slot is NULL");
    REFUSED(shm2_slot_set_dts(NULL, 0), "slot is NULL");
    REFUSED(shm2_slot_set_duration(NULL, 0), "slot is NULL");
    REFUSED(shm2_slot_set_time(NULL, 0), "slot is NULL");
    REFUSED(shm2_slot_set_offset(NULL, 0), "slot is NULL");
    REFUSED(shm2_slot_set_offset_end(NULL, 0), "slot is NULL");
    REFUSED(shm2_slot_set_latency(NULL, 0), "slot is NULL");
    REFUSED(shm2_slot_set_flags(NULL, 0), "slot is NULL");
    REFUSED(shm2_slot_set_meta(NULL, NULL, 0), "slot is NULL");

    shm2_slot *slot;
    OK(shm2_producer_reserve(producer, 4, &slot));
    REFUSED(shm2_slot_write(slot, 0, NULL, 1), "data is NULL");
    REFUSED(shm2_slot_write(slot, 4, &byte, 1), "outside");
    REFUSED(shm2_slot_write(slot, SIZE_MAX, &byte, 1), "outside");
    IS(SHM2_MEDIA, shm2_slot_plane(slot, 0, &plane, sizeof plane));
    SAYS("no caps");
    REFUSED(shm2_slot_plane(slot, 0, NULL, sizeof plane), "plane is NULL");
    REFUSED(shm2_slot_plane(slot, 0, &plane, 0), "size of plane is 0");
    REFUSED(shm2_slot_set_meta(slot, NULL, 1), "meta is NULL");
    shm2_slot_free(slot);

    OK(shm2_producer_set_caps(producer, "video/x-raw,format=NV12,width=4,height=4,framerate=1/1"));
    OK(shm2_producer_reserve(producer, 5, &slot));
    IS(SHM2_MEDIA, shm2_slot_plane(slot, 0, &plane, sizeof plane));
    SAYS("24, the frame has 5");
    shm2_slot_free(slot);
    OK(shm2_producer_reserve(producer, 24, &slot));
    REFUSED(shm2_slot_plane(slot, 2, &plane, sizeof plane), "plane 2 is not there: NV12 has 2");
    OK(shm2_slot_plane(slot, 1, &plane, sizeof plane));

    /* A slot of another producer, and a blob that is too long. Both are freed by publish. */
    char other_name[4096];
    snprintf(other_name, sizeof other_name, "%s-other", name);
    shm2_producer_options *options = shm2_producer_options_new();
    OK(shm2_producer_options_set_size(options, 8 << 20));
    shm2_producer *other;
    OK(shm2_producer_create(other_name, options, &other));
    shm2_producer_options_free(options);
    REFUSED(shm2_producer_publish(other, slot, NULL), "another region");
    shm2_producer_free(other);
    OK(shm2_producer_reserve(producer, 24, &slot));
    char *long_meta = calloc(1, (1 << 20) + 1);
    OK(shm2_slot_set_meta(slot, long_meta, (1 << 20) + 1));
    IS(SHM2_TOO_LARGE, shm2_producer_publish(producer, slot, NULL));
    SAYS("metas of 1048577 bytes");
    free(long_meta);
    OK(shm2_producer_reserve(producer, 24, &slot));
    REFUSED(shm2_producer_publish(NULL, slot, NULL), "producer is NULL");
}

static void frames_without_handle(void) {
    size_t size = 77;
    char byte;
    NEUTRAL(shm2_frame_data(NULL) == NULL, "frame is NULL");
    NEUTRAL(shm2_frame_size(NULL) == 0, "frame is NULL");
    REFUSED(shm2_frame_read(NULL, 0, &byte, 1), "frame is NULL");
    REFUSED(shm2_frame_check(NULL), "frame is NULL");
    NEUTRAL(shm2_frame_sequence(NULL) == 0, "frame is NULL");
    NEUTRAL(shm2_frame_missed(NULL) == 0, "frame is NULL");
    NEUTRAL(!shm2_frame_is_discontinuity(NULL), "frame is NULL");
    NEUTRAL(!shm2_frame_is_event(NULL), "frame is NULL");
    NEUTRAL(!shm2_frame_is_delta(NULL), "frame is NULL");
    NEUTRAL(!shm2_frame_is_leased(NULL), "frame is NULL");
    NEUTRAL(shm2_frame_pts(NULL) == SHM2_NONE, "frame is NULL");
    NEUTRAL(shm2_frame_dts(NULL) == SHM2_NO_DTS, "frame is NULL");
    NEUTRAL(shm2_frame_duration(NULL) == SHM2_NONE, "frame is NULL");
    NEUTRAL(shm2_frame_time(NULL) == SHM2_NONE, "frame is NULL");
    NEUTRAL(shm2_frame_published(NULL) == SHM2_NONE, "frame is NULL");
    NEUTRAL(shm2_frame_offset(NULL) == SHM2_NONE, "frame is NULL");
    NEUTRAL(shm2_frame_offset_end(NULL) == SHM2_NONE, "frame is NULL");
    NEUTRAL(shm2_frame_latency(NULL) == 0, "frame is NULL");
    NEUTRAL(shm2_frame_flags(NULL) == 0, "frame is NULL");
    NEUTRAL(shm2_frame_caps(NULL, &size) == NULL && size == 0, "frame is NULL");
    NEUTRAL(shm2_frame_caps(NULL, NULL) == NULL, "frame is NULL");
    NEUTRAL(shm2_frame_caps_number(NULL) == 0, "frame is NULL");
    NEUTRAL(shm2_frame_stream_blob(NULL, &size) == NULL && size == 0, "frame is NULL");
    NEUTRAL(shm2_frame_meta(NULL, NULL) == NULL, "frame is NULL");
    NEUTRAL(shm2_frame_media_kind(NULL) == SHM2_MEDIA_NONE, "frame is NULL");
    NEUTRAL(shm2_frame_media_type(NULL) == NULL, "frame is NULL");
    shm2_video video;
    shm2_plane plane;
    shm2_audio audio;
    shm2_channel channel;
    shm2_encoded encoded;
    REFUSED(shm2_frame_video(NULL, &video, sizeof video), "frame is NULL");
    REFUSED(shm2_frame_plane(NULL, 0, &plane, sizeof plane), "frame is NULL");
    REFUSED(shm2_frame_to_rgb(NULL, &byte, 0, 1), "frame is NULL");
    REFUSED(shm2_frame_audio(NULL, &audio, sizeof audio), "frame is NULL");
    REFUSED(shm2_frame_channel(NULL, 0, &channel, sizeof channel), "frame is NULL");
    REFUSED(shm2_frame_encoded(NULL, &encoded, sizeof encoded), "frame is NULL");
}

static void frames(shm2_producer *producer) {
    shm2_consumer *consumer;
    shm2_frame *frame;
    char bytes[24] = {0};
    OK(shm2_producer_send(producer, bytes, sizeof bytes, 0, NULL));
    OK(shm2_consumer_open(name, NULL, &consumer));
    OK(shm2_consumer_next(consumer, 10 * SECOND, &frame));
    CHECK(shm2_frame_size(frame) == 24);
    REFUSED(shm2_frame_read(frame, 0, NULL, 1), "to is NULL");
    REFUSED(shm2_frame_read(frame, 24, bytes, 1), "1 bytes from 24 are outside a frame of 24 bytes");
    REFUSED(shm2_frame_read(frame, SIZE_MAX, bytes, 24), "outside");
    OK(shm2_frame_read(frame, 24, NULL, 0));
    shm2_video video;
    shm2_plane plane;
    shm2_audio audio;
    shm2_channel channel;
    shm2_encoded encoded;
    REFUSED(shm2_frame_video(frame, NULL, sizeof video), "video is NULL");
    REFUSED(shm2_frame_video(frame, &video, 0), "size of video is 0");
    REFUSED(shm2_frame_plane(frame, 0, NULL, sizeof plane), "plane is NULL");
    REFUSED(shm2_frame_plane(frame, 2, &plane, sizeof plane), "plane 2");
    REFUSED(shm2_frame_plane(frame, UINT32_MAX, &plane, sizeof plane), "plane 4294967295");
    REFUSED(shm2_frame_to_rgb(frame, NULL, 0, 48), "to is NULL");
    REFUSED(shm2_frame_to_rgb(frame, bytes, 0, sizeof bytes), "24 bytes with a stride of 12");
    REFUSED(shm2_frame_to_rgb(frame, bytes, 11, sizeof bytes), "stride of 11");
    REFUSED(shm2_frame_to_rgb(frame, bytes, SIZE_MAX, sizeof bytes), "do not hold");
    IS(SHM2_MEDIA, shm2_frame_audio(frame, &audio, sizeof audio));
    SAYS("video/x-raw, not raw audio");
    REFUSED(shm2_frame_audio(frame, NULL, sizeof audio), "audio is NULL");
    IS(SHM2_MEDIA, shm2_frame_channel(frame, 0, &channel, sizeof channel));
    REFUSED(shm2_frame_channel(frame, 0, NULL, sizeof channel), "channel is NULL");
    IS(SHM2_MEDIA, shm2_frame_encoded(frame, &encoded, sizeof encoded));
    REFUSED(shm2_frame_encoded(frame, NULL, sizeof encoded), "encoded is NULL");
    shm2_frame_free(frame);

    /* Caps that are none, and that do not go with the bytes. */
    OK(shm2_producer_set_caps(producer, "%%%"));
    OK(shm2_producer_send(producer, bytes, sizeof bytes, 0, NULL));
    OK(shm2_consumer_next(consumer, 10 * SECOND, &frame));
    CHECK(shm2_frame_media_kind(frame) == SHM2_MEDIA_NONE && strcmp(shm2_frame_caps(frame, NULL), "%%%") == 0);
    IS(SHM2_MEDIA, shm2_frame_video(frame, &video, sizeof video));
    shm2_frame_free(frame);
    OK(shm2_producer_set_caps(producer, "video/x-raw,format=RGB,width=640,height=480"));
    OK(shm2_producer_send(producer, bytes, sizeof bytes, 0, NULL));
    OK(shm2_consumer_next(consumer, 10 * SECOND, &frame));
    CHECK(shm2_frame_media_kind(frame) == SHM2_MEDIA_VIDEO);
    IS(SHM2_MEDIA, shm2_frame_plane(frame, 0, &plane, sizeof plane));
    SAYS("921600");
    shm2_frame_free(frame);
    OK(shm2_producer_set_caps(producer, "audio/x-raw,format=S16LE,rate=8000,channels=2"));
    OK(shm2_producer_send(producer, bytes, sizeof bytes, 0, NULL));
    OK(shm2_consumer_next(consumer, 10 * SECOND, &frame));
    REFUSED(shm2_frame_channel(frame, 2, &channel, sizeof channel), "channel 2 is not there: the frame has 2");
    shm2_frame_free(frame);
    shm2_consumer_free(consumer);
}

static void regions(void) {
    shm2_regions *regions = (shm2_regions *)&name;
    shm2_region *region = (shm2_region *)&name;
    shm2_region_state state;
    shm2_region_consumer consumer;
    size_t size = 77;
    REFUSED(shm2_regions_list("/dev/shm", NULL), "regions is NULL");
    NEUTRAL(shm2_regions_count(NULL) == 0, "regions is NULL");
    NEUTRAL(shm2_regions_at(NULL, 0) == NULL, "regions is NULL");
    REFUSED(shm2_region_inspect(NULL, &region), "name is NULL");
    CHECK(region == NULL);
    REFUSED(shm2_region_inspect(name, NULL), "region is NULL");
    REFUSED(shm2_region_inspect("?", &region), "absolute");
    IS(SHM2_NOT_FOUND, shm2_region_inspect("/dev/shm/no/such/region", &region));
    NEUTRAL(shm2_region_name(NULL) == NULL, "region is NULL");
    NEUTRAL(shm2_region_path(NULL) == NULL, "region is NULL");
    NEUTRAL(shm2_region_caps(NULL, &size) == NULL && size == 0, "region is NULL");
    REFUSED(shm2_region_get_state(NULL, &state, sizeof state), "region is NULL");
    REFUSED(shm2_region_get_consumer(NULL, 0, &consumer, sizeof consumer), "region is NULL");

    OK(shm2_regions_list("/no/such/folder", &regions));
    CHECK(shm2_regions_count(regions) == 0 && shm2_regions_at(regions, SIZE_MAX) == NULL);
    shm2_regions_free(regions);
    OK(shm2_region_inspect(name, &region));
    REFUSED(shm2_region_get_state(region, NULL, sizeof state), "state is NULL");
    REFUSED(shm2_region_get_state(region, &state, 5000), "size of state is 5000");
    REFUSED(shm2_region_get_consumer(region, 0, &consumer, sizeof consumer), "the region has 0");
    REFUSED(shm2_region_get_consumer(region, SIZE_MAX, &consumer, sizeof consumer), "is not there");
    shm2_region_free(region);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    name = argv[1];
    general();
    consumer_options();
    consumer();
    producer_options();
    shm2_producer *sender = producer();
    slots(sender);
    frames_without_handle();
    frames(sender);
    regions();
    shm2_producer_free(sender);
    return 0;
}
