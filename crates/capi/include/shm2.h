/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * libshm2: one-to-many transport of frames through one shared-memory region. Zero-copy, no socket, no daemon.
 *
 * A producer creates a region and publishes frames into it. Any number of consumers attach and read the frames, in
 * place or as copies, each at its own speed. Either side may exit or restart at any time.
 *
 *     #include <shm2.h>
 *     #include <stdio.h>
 *
 *     int main(void) {
 *         shm2_consumer *consumer;
 *         shm2_frame *frame;
 *         shm2_status status = shm2_consumer_open("/dev/shm/camera", NULL, &consumer);
 *         while (status == SHM2_OK && (status = shm2_consumer_next(consumer, -1, &frame)) == SHM2_OK) {
 *             shm2_plane plane;
 *             if (shm2_frame_plane(frame, 0, &plane, sizeof plane) == SHM2_OK && plane.rows > 0)
 *                 printf("%llu: first byte %u\n", (unsigned long long)shm2_frame_sequence(frame), plane.data[0]);
 *             shm2_frame_free(frame);
 *         }
 *         fprintf(stderr, "%s: %s\n", shm2_status_name(status), shm2_last_error());
 *         shm2_consumer_free(consumer);
 *         return status == SHM2_END_OF_STREAM ? 0 : 1;
 *     }
 *
 *     cc -o watch watch.c $(pkg-config --cflags --libs shm2)
 *
 * RULES FOR ALL FUNCTIONS
 *
 * Errors. A function that can fail returns a shm2_status; SHM2_OK is 0. shm2_last_error() then has one sentence that
 * names the value and the remedy. A getter that returns its value directly returns 0, false, NULL or SHM2_NONE when
 * its handle is NULL or of another process, and shm2_last_error() says so. A NULL handle, a NULL pointer to a result
 * and a value out of range are SHM2_INVALID, never a crash. No function ends the process, except when memory for a few
 * bytes is missing.
 *
 * Results. A pointer to a result must lead to memory of that type, and two results of one call must not overlap. A
 * function that returns a handle stores NULL when it fails; other results are not changed then. Where the text says
 * "may be NULL", NULL means that the caller does not need the result.
 *
 * Ownership. What a function returns as a handle belongs to the caller, until its shm2_..._free(), once. free with
 * NULL does nothing. A handle must not be used after its free, and not be freed twice or while another thread uses it:
 * as with free(), that is not detected and the behaviour is undefined. Texts and bytes that a getter returns belong to
 * the handle and are valid as long as it.
 *
 * Structures. The caller passes the size of the structure that it knows (sizeof). Later versions add members at the
 * end only; members that the library does not know are set to zero.
 *
 * Times are nanoseconds. A time limit below 0 means no limit; 0 means not to wait. SHM2_NONE stands for no time.
 *
 * Threads. Handles may be passed between threads. shm2_frame and shm2_region do not change, so any number of threads
 * may use one. All other handles are used by one thread at a time; a call for a handle that another thread uses returns
 * SHM2_IN_USE, and changes nothing. Functions whose text says "from any thread" are excepted.
 *
 * Fork. A child process must not use what it inherited: each call returns SHM2_FORKED. It may free handles, which has
 * no effect on the parent, and it may open new ones. A pointer to the bytes of a frame that was fetched before the
 * fork must not be used in the child; an access ends the child by SIGSEGV.
 *
 * Trust. The bytes of a held frame do not change as long as the producer keeps to the protocol. A hostile producer can
 * change them at any time: read each value once, and check what was read. No content of the region makes this library
 * crash or hang. Another process that may write the region's file can truncate it; bytes that are lost read as zeros,
 * and the next call for the region returns SHM2_TRUNCATED. For this the library installs a handler for SIGBUS, which
 * passes other faults on.
 *
 * Stability. Names, values and members in this header do not change in a release with the same soname.
 */
#ifndef SHM2_H
#define SHM2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Version of this header. shm2_version() is that of the library that is loaded. */
#define SHM2_VERSION_MAJOR 0
#define SHM2_VERSION_MINOR 1
#define SHM2_VERSION_PATCH 0
#define SHM2_VERSION "0.1.0"

/* No time, no position. */
#define SHM2_NONE UINT64_MAX
/* No decoding time, which is the only one with a sign. */
#define SHM2_NO_DTS INT64_MIN

/* Result of a call. */
typedef enum shm2_status {
    SHM2_OK = 0,
    /* The time limit passed; of shm2_consumer_try_next(): no frame waits now. Call again. */
    SHM2_TIMED_OUT = 1,
    /* The producer published the end of its stream. */
    SHM2_END_OF_STREAM = 2,
    /* shm2_consumer_cancel() or shm2_producer_cancel() ended the call. */
    SHM2_CANCELLED = 3,
    /* An argument is wrong. */
    SHM2_INVALID = 4,
    /* There is no region or no producer of this name, or its directory does not exist. */
    SHM2_NOT_FOUND = 5,
    /* The producer exited, and the consumer is set to SHM2_ON_EXIT_ERROR. */
    SHM2_GONE = 6,
    /* The name has a live producer already. */
    SHM2_BUSY = 7,
    /* The name leads to something that this producer may not replace or use. */
    SHM2_EXISTS = 8,
    /* This user lacks a permission. */
    SHM2_DENIED = 9,
    /* The machine, a limit or the file system has too little memory. */
    SHM2_NO_MEMORY = 10,
    /* Producer: the region is full, and the frame was dropped and counted. Consumer: all 64 pages are in use. */
    SHM2_FULL = 11,
    /* A frame, caps or metas are larger than the region or the protocol allow. */
    SHM2_TOO_LARGE = 12,
    /* The memory of a kept region was cleared; the frame was dropped and counted. */
    SHM2_CLEARED = 13,
    /* The file of the region was truncated while in use. */
    SHM2_TRUNCATED = 14,
    /* Another producer took over the memory of a kept region. */
    SHM2_SUPERSEDED = 15,
    /* The producer was closed. */
    SHM2_CLOSED = 16,
    /* The producer expelled this consumer, because its heartbeat stood still for the lease time. */
    SHM2_EXPELLED = 17,
    /* The region's content contradicts the protocol: the peer that wrote it is broken or hostile. */
    SHM2_VIOLATION = 18,
    /* The file is no region, or of another major version of shm2. */
    SHM2_INCOMPATIBLE = 19,
    /* The caps do not describe what was asked for: there are none, they are of another kind or have an unknown format,
     * or the layout of the frame contradicts them. */
    SHM2_MEDIA = 20,
    /* This system, file system or build cannot do it. */
    SHM2_UNSUPPORTED = 21,
    /* Another thread is in a call for this handle. */
    SHM2_IN_USE = 22,
    /* The handle was inherited from a parent process. */
    SHM2_FORKED = 23,
    /* Any other error of the system. */
    SHM2_SYSTEM = 24,
    /* An error in this library. The handle must only be freed. Please report it with shm2_last_error(). */
    SHM2_INTERNAL = 25
} shm2_status;

/* A receiver of a region's frames. It waits for its producer, and attaches to the next one when that one exits. */
typedef struct shm2_consumer shm2_consumer;
/* Settings of a consumer. */
typedef struct shm2_consumer_options shm2_consumer_options;
/* A received frame: its bytes, in place or copied, and its description. */
typedef struct shm2_frame shm2_frame;
/* The one producer of a region. */
typedef struct shm2_producer shm2_producer;
/* Settings of a producer. */
typedef struct shm2_producer_options shm2_producer_options;
/* Memory of the region that is being filled. */
typedef struct shm2_slot shm2_slot;
/* State of a region, read without attaching. */
typedef struct shm2_region shm2_region;
/* States of the regions of a folder. */
typedef struct shm2_regions shm2_regions;

/* ---- general ---------------------------------------------------------------------------------------------------- */

/* Version of the loaded library, such as "0.1.0". From any thread. */
const char *shm2_version(void);

/* What went wrong in the last call of this thread that failed: one sentence; empty before the first. Valid until the
 * next call of this thread that fails. */
const char *shm2_last_error(void);

/* Name of a status, such as "SHM2_TIMED_OUT"; "unknown status" for any other number. Static. */
const char *shm2_status_name(shm2_status status);

/* Whether a status of a sending call means that only this frame was dropped and counted, so that the next one may be
 * sent: SHM2_FULL, SHM2_TIMED_OUT, SHM2_CLEARED. */
bool shm2_is_drop(shm2_status status);

/* Current time of the monotonic clock to which shm2_frame_time() and shm2_frame_published() refer. */
uint64_t shm2_monotonic_ns(void);

/* ---- consumer ----------------------------------------------------------------------------------------------------- */

/* How frames are read. */
typedef enum shm2_access {
    /* As SHM2_ACCESS_LEASE if a page is free and this user may write the region, else as SHM2_ACCESS_SNAPSHOT. */
    SHM2_ACCESS_AUTO = 0,
    /* In place, held by leases. Needs write permission for the region and one of its 64 pages. */
    SHM2_ACCESS_LEASE = 1,
    /* Each frame is a private copy. Needs only read permission; any number of consumers. */
    SHM2_ACCESS_SNAPSHOT = 2
} shm2_access;

/* Which frame is received first after an attach. */
typedef enum shm2_start {
    /* The oldest one of the producer's history: by default the newest frame. */
    SHM2_START_HISTORY = 0,
    /* The oldest frame in the region. */
    SHM2_START_OLDEST = 1,
    /* The next frame that is published. */
    SHM2_START_NEXT = 2
} shm2_start;

/* What a consumer does when its producer exits. */
typedef enum shm2_on_exit {
    /* It waits for the next producer of the name. */
    SHM2_ON_EXIT_RECONNECT = 0,
    /* It returns SHM2_END_OF_STREAM. */
    SHM2_ON_EXIT_END_OF_STREAM = 1,
    /* It returns SHM2_GONE. */
    SHM2_ON_EXIT_ERROR = 2
} shm2_on_exit;

/* How a consumer and its producer detect that the other is alive. */
typedef enum shm2_liveness {
    /* By locks, which the kernel ends with their process. */
    SHM2_LIVENESS_LOCK = 0,
    /* By heartbeats, for memory that both share without a common kernel, as with virtual machines. Kept regions only. */
    SHM2_LIVENESS_HEARTBEAT = 1
} shm2_liveness;

/* Default settings. Free with shm2_consumer_options_free(). */
shm2_consumer_options *shm2_consumer_options_new(void);
void shm2_consumer_options_free(shm2_consumer_options *options);

/* How frames are read; SHM2_ACCESS_AUTO if not set. Errors of all setters: SHM2_INVALID. */
shm2_status shm2_consumer_options_set_access(shm2_consumer_options *options, shm2_access access);
/* Which frame is received first; SHM2_START_HISTORY if not set. */
shm2_status shm2_consumer_options_set_start(shm2_consumer_options *options, shm2_start start);
/* Whether waiting frames are skipped: the second newest is received when two or more wait. False if not set. */
shm2_status shm2_consumer_options_set_latest(shm2_consumer_options *options, bool latest_only);
/* Skips frames that were published longer ago than this many nanoseconds; 0, the default, for no limit. */
shm2_status shm2_consumer_options_set_lag_limit(shm2_consumer_options *options, uint64_t age_ns);
/* Frames held in place at a time, limited by what the producer allows; further ones are copied. 64 if not set. */
shm2_status shm2_consumer_options_set_max_leases(shm2_consumer_options *options, size_t frames);
/* What to do when the producer exits; SHM2_ON_EXIT_RECONNECT if not set. */
shm2_status shm2_consumer_options_set_on_exit(shm2_consumer_options *options, shm2_on_exit action);
/* How long a wait polls for the next frame before it sleeps, in nanoseconds; 0 if not set. */
shm2_status shm2_consumer_options_set_spin(shm2_consumer_options *options, uint64_t time_ns);
/* Whether a wait for a stream with a steady rhythm ends shortly before the next frame is due; false if not set. */
shm2_status shm2_consumer_options_set_wake_ahead(shm2_consumer_options *options, bool wake_ahead);
/* How the producer's death is detected; SHM2_LIVENESS_LOCK if not set. */
shm2_status shm2_consumer_options_set_liveness(shm2_consumer_options *options, shm2_liveness liveness);
/* Whether events between frames are received, as frames without bytes (shm2_frame_is_event()); false if not set. */
shm2_status shm2_consumer_options_set_events(shm2_consumer_options *options, bool events);

/* Makes a consumer of the region `name`, such as "/dev/shm/camera" or "shm:///dev/shm/camera", in UTF-8. It attaches at
 * its first shm2_consumer_next(); the producer may start later. `options` may be NULL for default settings, and may be
 * freed or used again afterwards.
 * Errors: SHM2_INVALID for a name that is not valid. */
shm2_status shm2_consumer_open(const char *name, const shm2_consumer_options *options, shm2_consumer **consumer);

/* As shm2_consumer_open(), and waits for a producer up to `timeout_ns`, so that the consumer is attached.
 * Errors: also SHM2_TIMED_OUT, and why the region cannot be used: SHM2_DENIED, SHM2_FULL, SHM2_INCOMPATIBLE,
 * SHM2_UNSUPPORTED, SHM2_SYSTEM. */
shm2_status shm2_consumer_attach(const char *name, const shm2_consumer_options *options, int64_t timeout_ns,
                                 shm2_consumer **consumer);

/* Closes the consumer. Frames that it returned stay valid. */
void shm2_consumer_free(shm2_consumer *consumer);

/* Returns the next frame. Waits for it, and for a producer, up to `timeout_ns`. Free it with shm2_frame_free().
 * Errors: SHM2_TIMED_OUT and SHM2_CANCELLED change nothing. After SHM2_END_OF_STREAM a further call waits for frames
 * after the end. After SHM2_GONE, SHM2_EXPELLED, SHM2_TRUNCATED, SHM2_VIOLATION, SHM2_NO_MEMORY and the errors of
 * shm2_consumer_attach() the consumer is detached, and a further call attaches again. */
shm2_status shm2_consumer_next(shm2_consumer *consumer, int64_t timeout_ns, shm2_frame **frame);

/* As shm2_consumer_next(), and never waits: SHM2_TIMED_OUT when there is no frame now. */
shm2_status shm2_consumer_try_next(shm2_consumer *consumer, shm2_frame **frame);

/* A descriptor for poll, epoll or the main loop of a toolkit. It is readable while there may be something to take by
 * shm2_consumer_try_next(): a frame, an error, a new producer. Call shm2_consumer_try_next() until it returns
 * SHM2_TIMED_OUT; the descriptor is not readable from then on, until there is something again. It is readable at first.
 * After an error it stays readable: a program that keeps the consumer waits before its next call. The descriptor
 * belongs to the consumer: never read from it, write to it or close it. All consumers of a process share one waiting
 * thread, which starts with the first descriptor, and one more for each further 127.
 * Errors: SHM2_SYSTEM when the system refuses a descriptor or the thread, SHM2_UNSUPPORTED on Windows. */
shm2_status shm2_consumer_fd(shm2_consumer *consumer, int *fd);

/* Ends a shm2_consumer_next() of another thread, from any thread. While `cancelled` is true, calls that would wait
 * return SHM2_CANCELLED at once. */
shm2_status shm2_consumer_cancel(shm2_consumer *consumer, bool cancelled);

/* Switches between all frames in order and the latest only, as shm2_consumer_options_set_latest(). */
shm2_status shm2_consumer_set_latest(shm2_consumer *consumer, bool latest_only);
/* Changes the limit of shm2_consumer_options_set_lag_limit(). */
shm2_status shm2_consumer_set_lag_limit(shm2_consumer *consumer, uint64_t age_ns);

/* Asks the producer for a keyframe, a frame that depends on no other. `told` is false if it cannot be told: while
 * detached, and for snapshots of a device. `told` may be NULL. */
shm2_status shm2_consumer_request_keyframe(shm2_consumer *consumer, bool *told);

/* Random number of the attached region's generation, which each producer has another of; 0 while detached. */
shm2_status shm2_consumer_generation(const shm2_consumer *consumer, uint64_t *generation);

/* Why this consumer would wait now, in one line for a user, such as "/dev/shm/camera (file system tmpfs, device 0:26):
 * no producer there; ...". From any thread. Valid until the next call of this function by the same thread. */
const char *shm2_consumer_waiting_for(const shm2_consumer *consumer);

/* Converts a time of the producer's monotonic clock to that of this process. On one machine both are the same. */
shm2_status shm2_consumer_to_local(const shm2_consumer *consumer, uint64_t time_ns, uint64_t *local_ns);

/* Counters since the consumer was made, over all producers. */
typedef struct shm2_consumer_stats {
    /* Frames taken. */
    uint64_t received;
    /* Items that were retired before they could be taken: frames, with the events and ends between them. */
    uint64_t missed;
    /* Frames skipped under latest-only, or because they were too old. */
    uint64_t skipped;
    /* The part of `skipped` that was too old. */
    uint64_t skipped_old;
    /* Frames received as private copies. */
    uint64_t copied;
    /* Attaches; more than 1 after a restart of the producer. */
    uint64_t attaches;
    /* Wake-ups that did not arrive. */
    uint64_t lost_wakes;
    /* Looks ahead of time that found an item, and that did not; time spent on them in nanoseconds. */
    uint64_t looks_found;
    uint64_t looks_missed;
    uint64_t looked_ns;
} shm2_consumer_stats;

/* Reads the counters. `size` is sizeof(shm2_consumer_stats). */
shm2_status shm2_consumer_get_stats(const shm2_consumer *consumer, shm2_consumer_stats *stats, size_t size);

/* ---- frame -------------------------------------------------------------------------------------------------------- */

/* Ends the use of the frame, so that the producer can reuse its memory. On any thread, also after its consumer. */
void shm2_frame_free(shm2_frame *frame);

/* Address of the first byte, readable for shm2_frame_size() bytes; it must not be written. See "Trust" above. */
const void *shm2_frame_data(const shm2_frame *frame);
/* Size of the payload in bytes. */
size_t shm2_frame_size(const shm2_frame *frame);

/* Copies `size` bytes from `offset`, in bytes from the beginning of the payload.
 * Errors: SHM2_INVALID when the payload is not that long, SHM2_TRUNCATED when bytes are lost. */
shm2_status shm2_frame_read(const shm2_frame *frame, size_t offset, void *to, size_t size);

/* After bytes were read in place: SHM2_TRUNCATED if the file was truncated meanwhile, so that some may be zeros. */
shm2_status shm2_frame_check(const shm2_frame *frame);

/* Number of the frame. It grows by one with each item: frames, events and ends of stream. It starts at 1. */
uint64_t shm2_frame_sequence(const shm2_frame *frame);
/* Items between the previously received frame and this one that were retired before they could be taken. */
uint64_t shm2_frame_missed(const shm2_frame *frame);
/* Whether the stream is interrupted before this frame: items were missed or were too old, or after an attach. */
bool shm2_frame_is_discontinuity(const shm2_frame *frame);
/* Whether this is an event between frames: it has no bytes, its metas have the content. */
bool shm2_frame_is_event(const shm2_frame *frame);
/* Whether the frame cannot be decoded without frames before it. */
bool shm2_frame_is_delta(const shm2_frame *frame);
/* Whether the bytes are in the region itself (true) or a private copy (false). */
bool shm2_frame_is_leased(const shm2_frame *frame);

/* Presentation time on the producer's own timeline, or SHM2_NONE. */
uint64_t shm2_frame_pts(const shm2_frame *frame);
/* Decoding time on the producer's own timeline, or SHM2_NO_DTS. */
int64_t shm2_frame_dts(const shm2_frame *frame);
/* How long the frame lasts, or SHM2_NONE. */
uint64_t shm2_frame_duration(const shm2_frame *frame);
/* Absolute time of the frame on the producer's monotonic clock, or SHM2_NONE. See shm2_consumer_to_local(). */
uint64_t shm2_frame_time(const shm2_frame *frame);
/* Time of publication on the producer's monotonic clock, or SHM2_NONE if it is not known. */
uint64_t shm2_frame_published(const shm2_frame *frame);
/* Media specific position of the first unit (sample, byte, picture), and behind the last one, or SHM2_NONE. */
uint64_t shm2_frame_offset(const shm2_frame *frame);
uint64_t shm2_frame_offset_end(const shm2_frame *frame);
/* Latency of the producer's pipeline in nanoseconds; 0 if unknown. */
uint64_t shm2_frame_latency(const shm2_frame *frame);
/* Flags of the application, passed on unchanged; GStreamer's buffer flags from a GStreamer producer. */
uint32_t shm2_frame_flags(const shm2_frame *frame);

/* Caps: the text that describes the stream at this frame, with a zero byte behind it; NULL if the producer has set
 * none. `size` is its length in bytes without that zero byte, and may be NULL. The text comes from the producer. */
const char *shm2_frame_caps(const shm2_frame *frame, size_t *size);
/* Number of the caps, which changes with each new text; 0 without caps. */
uint32_t shm2_frame_caps_number(const shm2_frame *frame);
/* Opaque blob of the stream; NULL and 0 if there is none. `size` may be NULL. */
const void *shm2_frame_stream_blob(const shm2_frame *frame, size_t *size);
/* Opaque blob of this frame or event; NULL and 0 if there is none. `size` may be NULL. */
const void *shm2_frame_meta(const shm2_frame *frame, size_t *size);

/* ---- what the bytes of a frame mean --------------------------------------------------------------------------------- */

typedef enum shm2_media_kind {
    /* There are no caps, or they cannot be described: shm2_frame_video() says why. */
    SHM2_MEDIA_NONE = 0,
    SHM2_MEDIA_VIDEO = 1,
    SHM2_MEDIA_AUDIO = 2,
    SHM2_MEDIA_ENCODED = 3,
    SHM2_MEDIA_TEXT = 4,
    SHM2_MEDIA_OTHER = 5
} shm2_media_kind;

/* Kind of the stream at this frame. */
shm2_media_kind shm2_frame_media_kind(const shm2_frame *frame);
/* Media type, such as "video/x-raw"; NULL without caps. */
const char *shm2_frame_media_type(const shm2_frame *frame);

/* Raw video. */
typedef struct shm2_video {
    /* GStreamer's name of the format, such as "NV12". */
    const char *format;
    /* Size of the picture in pixels. */
    uint32_t width;
    uint32_t height;
    /* The part of the stored picture that is to be shown, in pixels from the upper left corner. */
    uint32_t visible_x;
    uint32_t visible_y;
    uint32_t visible_width;
    uint32_t visible_height;
    /* Size of the stored picture, at least that of the picture. */
    uint32_t stored_width;
    uint32_t stored_height;
    /* Pictures per second as a fraction; 0/1 for a variable or unknown rate. */
    int32_t rate_numerator;
    int32_t rate_denominator;
    /* Width of a pixel, divided by its height. */
    int32_t aspect_numerator;
    int32_t aspect_denominator;
    /* Number of planes, 1 to 4. */
    uint32_t planes;
    /* GStreamer's numbers of range, matrix, transfer function and primaries. */
    uint32_t color_range;
    uint32_t color_matrix;
    uint32_t color_transfer;
    uint32_t color_primaries;
    /* Those four as GStreamer's text, such as "bt709" or "2:3:5:1". */
    const char *colorimetry;
    /* "progressive", "interleaved", "mixed", "fields" or "alternate". */
    const char *interlace_mode;
    /* Bytes of a frame with all padding. */
    uint64_t frame_bytes;
} shm2_video;

/* Describes a frame of raw video. `size` is sizeof(shm2_video). Its texts are valid as long as the frame.
 * Errors: SHM2_MEDIA when the frame is no raw video, or its layout contradicts the caps. */
shm2_status shm2_frame_video(const shm2_frame *frame, shm2_video *video, size_t size);

/* A plane of a picture. */
typedef struct shm2_plane {
    /* First byte. In a slot these bytes may be written: at shm2_slot_data() + offset. */
    const uint8_t *data;
    /* Bytes from the beginning of the frame to `data`. */
    uint64_t offset;
    /* Bytes from one row to the next; for tiles from one row of tiles to the next. */
    uint64_t stride;
    /* Bytes of picture in a row, without padding. */
    uint64_t row_bytes;
    /* Rows of picture. */
    uint32_t rows;
    /* Bytes of the smallest unit that repeats in a row: a pixel of RGB, a pair of U and V. */
    uint32_t element_bytes;
    /* Pixels of the picture's width that this unit stands for. */
    uint32_t element_pixels;
    /* For pictures in tiles, else 0: tiles side by side, rows of tiles, bytes of a tile's row, its rows, its bytes. */
    uint32_t tile_columns;
    uint32_t tile_rows;
    uint32_t tile_row_bytes;
    uint32_t tile_height;
    uint32_t tile_bytes;
} shm2_plane;

/* Plane `index` of a frame of raw video, from 0. The plane is inside the frame. `size` is sizeof(shm2_plane).
 * Errors: as shm2_frame_video(); SHM2_INVALID for an index that the format does not have. */
shm2_status shm2_frame_plane(const shm2_frame *frame, uint32_t index, shm2_plane *plane, size_t size);

/* Converts the visible part of a frame of raw video to RGB, a byte for each of red, green and blue, into `to`, row by
 * row `stride` bytes apart (0: 3 * visible_width). `size` is the size of `to` in bytes. Meant for pictures that people
 * look at: it takes some milliseconds.
 * Errors: SHM2_MEDIA when the format cannot be converted here, SHM2_INVALID when `to` is too small. */
shm2_status shm2_frame_to_rgb(const shm2_frame *frame, void *to, size_t stride, size_t size);

typedef enum shm2_sample_kind {
    SHM2_SAMPLE_SIGNED = 0,
    SHM2_SAMPLE_UNSIGNED = 1,
    SHM2_SAMPLE_FLOAT = 2
} shm2_sample_kind;

/* Raw audio. */
typedef struct shm2_audio {
    /* GStreamer's name of the format, such as "S16LE". */
    const char *format;
    /* Samples per second of each channel. */
    uint32_t rate;
    uint32_t channels;
    /* Whether the channels are one after the other (1), or sample by sample side by side (0). */
    uint32_t is_planar;
    /* A shm2_sample_kind. */
    uint32_t sample_kind;
    /* Bytes of a sample, and bits of it that are used. */
    uint32_t sample_bytes;
    uint32_t sample_bits;
    /* Whether the bytes of a sample are big-endian (1). */
    uint32_t is_big_endian;
    /* Whether `channel_mask` is known (1). */
    uint32_t has_channel_mask;
    /* Positions of the channels as GStreamer's bits: bit 0 front left, bit 1 front right. */
    uint64_t channel_mask;
    /* Samples of each channel in this frame. */
    uint64_t samples;
} shm2_audio;

/* Describes a frame of raw audio. `size` is sizeof(shm2_audio). The text is valid as long as the frame.
 * Errors: SHM2_MEDIA when the frame is no raw audio, or its layout contradicts the caps. */
shm2_status shm2_frame_audio(const shm2_frame *frame, shm2_audio *audio, size_t size);

/* Samples of one channel. */
typedef struct shm2_channel {
    /* First sample. */
    const uint8_t *data;
    /* Bytes from one sample to the next. */
    uint64_t step;
    /* Number of samples. */
    uint64_t samples;
} shm2_channel;

/* Channel `index` of a frame of raw audio, from 0. The samples are inside the frame. `size` is sizeof(shm2_channel).
 * Errors: as shm2_frame_audio(); SHM2_INVALID for a channel that is not there. */
shm2_status shm2_frame_channel(const shm2_frame *frame, uint32_t index, shm2_channel *channel, size_t size);

/* Encoded video, images and audio. What the caps do not say is NULL or 0. */
typedef struct shm2_encoded {
    /* The codec's name for people, such as "H.264". */
    const char *codec;
    const char *profile;
    const char *level;
    /* How units are marked, such as "byte-stream". */
    const char *stream_format;
    /* What one frame is, such as "au" for a whole picture. */
    const char *alignment;
    uint32_t width;
    uint32_t height;
    int32_t rate_numerator;
    int32_t rate_denominator;
    /* Audio: samples per second, and channels. */
    uint32_t rate;
    uint32_t channels;
    /* Bytes that a decoder needs before the first frame. */
    const void *codec_data;
    size_t codec_data_size;
} shm2_encoded;

/* Describes an encoded frame. `size` is sizeof(shm2_encoded). Texts and bytes are valid as long as the frame.
 * Errors: SHM2_MEDIA when the stream is not encoded. */
shm2_status shm2_frame_encoded(const shm2_frame *frame, shm2_encoded *encoded, size_t size);

/* ---- producer ----------------------------------------------------------------------------------------------------- */

/* What happens to a new frame when there is too little free space for it. */
typedef enum shm2_full_policy {
    /* Drops the oldest frames that no consumer holds, if that frees enough space; else the new frame. */
    SHM2_FULL_DROP_OLDEST = 0,
    /* Drops the new frame as long as an attached consumer has not read the old ones. */
    SHM2_FULL_DROP_NEWEST = 1,
    /* Waits for the slowest consumer. */
    SHM2_FULL_BLOCK = 2
} shm2_full_policy;

/* Default settings. Free with shm2_producer_options_free(). */
shm2_producer_options *shm2_producer_options_new(void);
void shm2_producer_options_free(shm2_producer_options *options);

/* Size of the whole region in bytes, of which 4.6 MiB are overhead; 64 MiB if not set. A value that is out of range is
 * an error of shm2_producer_create(). Errors of all setters: SHM2_INVALID. */
shm2_status shm2_producer_options_set_size(shm2_producer_options *options, uint64_t bytes);
/* Size of the region by its arena: at least so many bytes for frames. The last one of this and set_size counts. */
shm2_status shm2_producer_options_set_arena(shm2_producer_options *options, uint64_t bytes);
/* Permission bits of the file, independent of the umask; 0660 if not set. */
shm2_status shm2_producer_options_set_perms(shm2_producer_options *options, uint32_t mode);
/* Policy for a full region; SHM2_FULL_DROP_OLDEST if not set. `timeout_ns` is the longest wait of SHM2_FULL_BLOCK. */
shm2_status shm2_producer_options_set_full_policy(shm2_producer_options *options, shm2_full_policy policy,
                                                  int64_t timeout_ns);
/* Frames kept for consumers that attach later, 1 if not set; UINT32_MAX for as many as fit. */
shm2_status shm2_producer_options_set_history(shm2_producer_options *options, uint32_t frames);
/* Frames that one consumer may hold in place at a time, 1 to 64; 16 if not set. */
shm2_status shm2_producer_options_set_max_leases(shm2_producer_options *options, uint32_t frames);
/* Interval at which the region's pair of clock readings is renewed, in nanoseconds; 250 ms if not set. */
shm2_status shm2_producer_options_set_beacon(shm2_producer_options *options, uint64_t interval_ns);
/* Reuses an existing file, with its size and permissions, and never removes it; false if not set. For memory that
 * cannot be replaced, such as the backing file of a virtual machine's device. */
shm2_status shm2_producer_options_set_keep_region(shm2_producer_options *options, bool keep);
/* With keep-region: also uses an existing file of another user in a directory where every user may make files; false
 * if not set. That user can read and change all frames. */
shm2_status shm2_producer_options_set_foreign_owner(shm2_producer_options *options, bool permit);
/* Time without a heartbeat after which a peer without a lock counts as dead: 100 ms to 1 h, 2 s if not set. */
shm2_status shm2_producer_options_set_lease_time(shm2_producer_options *options, uint64_t time_ns);

/* Creates the region `name`, such as "/dev/shm/camera", in UTF-8, and makes it visible. Replaces the region of a dead
 * producer. `options` may be NULL for default settings, and may be freed or used again afterwards.
 * Errors: SHM2_INVALID, SHM2_BUSY, SHM2_EXISTS, SHM2_DENIED, SHM2_NO_MEMORY, SHM2_NOT_FOUND, SHM2_UNSUPPORTED,
 * SHM2_SYSTEM. */
shm2_status shm2_producer_create(const char *name, const shm2_producer_options *options, shm2_producer **producer);

/* Closes the region. Frames that consumers hold stay readable. Slots of this producer can no longer be published, and
 * must still be freed. */
void shm2_producer_free(shm2_producer *producer);

/* Path of the region's file, or its whole name for a device. */
const char *shm2_producer_path(const shm2_producer *producer);

/* Sets the text that describes the following frames: caps as GStreamer writes them, such as
 * "video/x-raw,format=RGBA,width=640,height=480,framerate=30/1". At most 64 KiB.
 * Errors: SHM2_TOO_LARGE, SHM2_FULL when there is no free space for it, and as shm2_producer_publish(). */
shm2_status shm2_producer_set_caps(shm2_producer *producer, const char *caps);
/* As shm2_producer_set_caps(), with an opaque blob of at most 1 MiB that belongs to the stream. */
shm2_status shm2_producer_set_stream(shm2_producer *producer, const char *caps, const void *blob, size_t size);

/* Bytes of a frame of raw video with the current caps.
 * Errors: SHM2_MEDIA when the caps are not those of raw video. */
shm2_status shm2_producer_frame_size(const shm2_producer *producer, size_t *bytes);

/* Reserves `bytes` of the region for a frame. The policy decides what happens when there is too little free space;
 * SHM2_FULL_BLOCK waits. Ends with shm2_producer_publish() or shm2_slot_free().
 * Errors: SHM2_FULL, SHM2_TIMED_OUT, SHM2_CLEARED, SHM2_TOO_LARGE: the frame was dropped and counted.
 * SHM2_CANCELLED, SHM2_CLOSED, SHM2_SUPERSEDED, SHM2_TRUNCATED count nothing. */
shm2_status shm2_producer_reserve(shm2_producer *producer, size_t bytes, shm2_slot **slot);
/* As shm2_producer_reserve() without waiting, and without counting a dropped frame. From any thread. */
shm2_status shm2_producer_try_reserve(shm2_producer *producer, size_t bytes, shm2_slot **slot);

/* Publishes a filled slot, and frees it in any case, also with an error: the slot and its memory must not be used
 * afterwards. `sequence` is the number of the frame, and may be NULL.
 * Errors: SHM2_FULL and SHM2_TIMED_OUT when the ring is full and the policy keeps its frames, SHM2_CLEARED when the
 * bytes are lost, SHM2_TOO_LARGE for metas, SHM2_INVALID for a slot of another producer, SHM2_SUPERSEDED,
 * SHM2_TRUNCATED. */
shm2_status shm2_producer_publish(shm2_producer *producer, shm2_slot *slot, uint64_t *sequence);

/* Copies `size` bytes into the region and publishes them as one frame with the presentation time `pts`, which may be
 * SHM2_NONE. `sequence` may be NULL. For other times and for metas use a slot.
 * Errors: as shm2_producer_reserve() and shm2_producer_publish(). */
shm2_status shm2_producer_send(shm2_producer *producer, const void *data, size_t size, uint64_t pts,
                               uint64_t *sequence);

/* Publishes an event between two frames, with an opaque content of at most 1 MiB. Only consumers with
 * shm2_consumer_options_set_events() receive it. `sequence` may be NULL. Errors: as shm2_producer_send(). */
shm2_status shm2_producer_send_event(shm2_producer *producer, const void *meta, size_t size, uint64_t pts,
                                     uint64_t *sequence);

/* Publishes the end of the stream. More frames may follow; a consumer sees the end between them. */
shm2_status shm2_producer_end_of_stream(shm2_producer *producer);

/* Waits until every attached leasing consumer has taken every item, for `timeout_ns` at most.
 * Errors: SHM2_TIMED_OUT if they have not. */
shm2_status shm2_producer_drain(shm2_producer *producer, int64_t timeout_ns);

/* Leasing consumers that are attached now. Frees what dead ones held. From any thread. */
shm2_status shm2_producer_consumers(const shm2_producer *producer, size_t *consumers);
/* Whether any snapshot consumer is attached now. From any thread. */
shm2_status shm2_producer_has_snapshots(const shm2_producer *producer, bool *has_snapshots);
/* Times that consumers have requested a keyframe. From any thread. */
shm2_status shm2_producer_keyframe_requests(const shm2_producer *producer, uint64_t *requests);

/* A number that changes whenever a consumer attaches, detaches or requests a keyframe. From any thread. */
shm2_status shm2_producer_changes(const shm2_producer *producer, uint32_t *changes);
/* Waits until shm2_producer_changes() differs from `seen`, for `timeout_ns` at most. From any thread; the producer must
 * not be freed meanwhile.
 * Errors: SHM2_TIMED_OUT. */
shm2_status shm2_producer_wait_change(const shm2_producer *producer, uint32_t seen, int64_t timeout_ns);

/* While `cancelled` is true, calls that wait under SHM2_FULL_BLOCK return SHM2_CANCELLED within 10 ms. From any thread. */
shm2_status shm2_producer_cancel(const shm2_producer *producer, bool cancelled);
/* Whether frames can still be sent: SHM2_CLOSED, SHM2_SUPERSEDED or SHM2_TRUNCATED if not. From any thread. */
shm2_status shm2_producer_check(const shm2_producer *producer);
/* Whether the region's file lost its name, so that new consumers cannot find it. From any thread. */
shm2_status shm2_producer_lost_name(const shm2_producer *producer, bool *lost);

/* Counters of a producer and the use of its memory. */
typedef struct shm2_producer_stats {
    /* Items published: frames, events and ends of stream. */
    uint64_t published;
    /* Frames retired before every attached consumer had read them. */
    uint64_t dropped_oldest;
    /* New frames that were dropped for lack of free space. */
    uint64_t dropped_newest;
    /* Frames that were dropped because they are larger than the arena. */
    uint64_t dropped_too_large;
    /* Times that the producer woke sleeping consumers. */
    uint64_t wakes;
    /* Frames that consumers can take. */
    uint64_t ready;
    /* Retired frames that a consumer still holds. */
    uint64_t held;
    /* Bytes of the arena: all, free, and in slots and frames. */
    uint64_t arena_bytes;
    uint64_t free_bytes;
    uint64_t used_bytes;
} shm2_producer_stats;

/* Reads the counters. `size` is sizeof(shm2_producer_stats). From any thread. */
shm2_status shm2_producer_get_stats(const shm2_producer *producer, shm2_producer_stats *stats, size_t size);

/* ---- slot --------------------------------------------------------------------------------------------------------- */

/* Gives the memory of a slot back without publishing it. On any thread, also after its producer. */
void shm2_slot_free(shm2_slot *slot);

/* Address of the first byte, writable for shm2_slot_size() bytes, aligned to 64 bytes. Code that fills it with
 * non-temporal stores must end them with a store fence. Its content is undefined at first. */
void *shm2_slot_data(shm2_slot *slot);
/* Size in bytes. */
size_t shm2_slot_size(const shm2_slot *slot);
/* Copies `size` bytes to `offset`.
 * Errors: SHM2_INVALID when they do not fit there. In a kept region SHM2_CLEARED, SHM2_SUPERSEDED and SHM2_CLOSED when
 * the memory no longer belongs to this producer. */
shm2_status shm2_slot_write(shm2_slot *slot, size_t offset, const void *data, size_t size);

/* Plane `index` by the producer's caps at the time of the reservation. `size` is sizeof(shm2_plane).
 * Errors: SHM2_MEDIA when the caps are not those of raw video, or the slot is smaller than a frame; SHM2_INVALID for an
 * index that the format does not have. */
shm2_status shm2_slot_plane(shm2_slot *slot, uint32_t index, shm2_plane *plane, size_t size);

/* What consumers read as shm2_frame_pts() and so on. Not set: SHM2_NONE, SHM2_NO_DTS, 0. */
shm2_status shm2_slot_set_pts(shm2_slot *slot, uint64_t pts);
shm2_status shm2_slot_set_dts(shm2_slot *slot, int64_t dts);
shm2_status shm2_slot_set_duration(shm2_slot *slot, uint64_t duration);
shm2_status shm2_slot_set_time(shm2_slot *slot, uint64_t time);
shm2_status shm2_slot_set_offset(shm2_slot *slot, uint64_t offset);
shm2_status shm2_slot_set_offset_end(shm2_slot *slot, uint64_t offset_end);
shm2_status shm2_slot_set_latency(shm2_slot *slot, uint64_t latency);
shm2_status shm2_slot_set_flags(shm2_slot *slot, uint32_t flags);
/* Opaque blob of the frame, copied at once; at most 1 MiB, which shm2_producer_publish() checks. For raw video and audio
 * it must consist of the items of docs/protocol.md, section 24, which tell the layout of the frame: with another content
 * its bytes cannot be described (SHM2_MEDIA). */
shm2_status shm2_slot_set_meta(shm2_slot *slot, const void *meta, size_t size);

/* ---- which regions there are -------------------------------------------------------------------------------------- */

/* Reads the states of all regions with a live producer in `folder` and the folders in it, at most four levels down,
 * sorted by path. NULL for "/dev/shm". A folder that does not exist has none. Free with shm2_regions_free(). */
shm2_status shm2_regions_list(const char *folder, shm2_regions **regions);
void shm2_regions_free(shm2_regions *regions);
/* Number of regions. */
size_t shm2_regions_count(const shm2_regions *regions);
/* Region `index`, from 0; NULL behind the last one. It belongs to `regions`: it must not be freed. */
const shm2_region *shm2_regions_at(const shm2_regions *regions, size_t index);

/* Reads the state of one region. Has no effect on its producer. Free with shm2_region_free().
 * Errors: SHM2_NOT_FOUND without a live producer, and as shm2_consumer_attach(). */
shm2_status shm2_region_inspect(const char *name, shm2_region **region);
void shm2_region_free(shm2_region *region);

/* Name for shm2_consumer_open(), such as "shm:///dev/shm/camera". */
const char *shm2_region_name(const shm2_region *region);
/* Path of the file, in the bytes of the file system. */
const char *shm2_region_path(const shm2_region *region);
/* Caps with a zero byte behind them; NULL if none were set. `size` may be NULL. */
const char *shm2_region_caps(const shm2_region *region, size_t *size);

/* State of a region. The values are what the producer wrote; use them for display only. */
typedef struct shm2_region_state {
    /* Size of the region, and of its arena, in bytes. */
    uint64_t bytes;
    uint64_t arena_bytes;
    /* Random number of the generation. */
    uint64_t generation;
    /* Process id of the producer, in its own namespace. */
    uint32_t producer_pid;
    /* Whether the region is kept, so that the next producer reuses this memory (1). */
    uint32_t is_kept;
    /* A shm2_full_policy; UINT32_MAX for one that this version does not know. */
    uint32_t full_policy;
    /* Frames kept for consumers that attach later. */
    uint32_t history;
    /* Frames that one consumer may hold in place. */
    uint32_t max_leases;
    /* Leasing consumers. */
    uint32_t consumers;
    /* Start of the generation, on the real-time clock. */
    uint64_t created_ns;
    /* Oldest sequence that may still be taken, and the newest; 0 before the first. */
    uint64_t oldest;
    uint64_t newest;
    /* Of the newest item: its size, time of publication on the producer's clock, time since then. Or SHM2_NONE. */
    uint64_t frame_bytes;
    uint64_t published_ns;
    uint64_t age_ns;
    /* As in shm2_producer_stats. */
    uint64_t dropped_oldest;
    uint64_t dropped_newest;
    uint64_t dropped_too_large;
} shm2_region_state;

/* Reads the numbers of a region's state. `size` is sizeof(shm2_region_state). */
shm2_status shm2_region_get_state(const shm2_region *region, shm2_region_state *state, size_t size);

/* A leasing consumer, as it shows itself in its page. For display only. */
typedef struct shm2_region_consumer {
    /* Process id, in its own namespace. */
    uint32_t pid;
    /* Number of its page, 0 to 63. */
    uint32_t page;
    /* Frames that it holds in place, and their bytes. */
    uint64_t held;
    uint64_t held_bytes;
    /* Items that it has not taken yet. */
    uint64_t lag;
    uint64_t received;
    uint64_t missed;
    uint64_t skipped;
    uint64_t copied;
    /* Time of the attach on the consumer's monotonic clock. */
    uint64_t attached_ns;
} shm2_region_consumer;

/* Consumer `index` of the region, below `consumers`. `size` is sizeof(shm2_region_consumer). Errors: SHM2_INVALID. */
shm2_status shm2_region_get_consumer(const shm2_region *region, size_t index, shm2_region_consumer *consumer,
                                     size_t size);

#ifdef __cplusplus
}
#endif

#endif
