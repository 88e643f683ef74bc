/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Regions into which pictures and sound of OBS go. Nothing is copied while nobody reads them. */
#include "obs-shm2.h"

#include <inttypes.h>
#include <util/platform.h>

/* Frames of video that a region has room for. */
#define FRAMES 8
#define LEAST_BYTES (16u << 20)
#define AUDIO_BYTES (8u << 20)

void publisher_init(struct publisher *publisher)
{
	memset(publisher, 0, sizeof *publisher);
	pthread_mutex_init(&publisher->lock, NULL);
	publisher->begin = os_gettime_ns();
}

void publisher_begin(struct publisher *publisher)
{
	publisher->begin = os_gettime_ns();
}

/* Whether there is something to publish. What OBS mixed before the beginning has no presentation time. */
static bool wants(const struct publisher *publisher, const shm2_producer *producer, uint64_t time)
{
	return producer && time >= publisher->begin;
}

void publisher_free(struct publisher *publisher)
{
	publisher_close_video(publisher);
	publisher_close_audio(publisher);
	pthread_mutex_destroy(&publisher->lock);
}

static bool fail(char why[SENTENCE])
{
	snprintf(why, SENTENCE, "%s", shm2_last_error());
	return false;
}

/* Makes a region, described by `caps`. A reader begins with the next frame: an older one may be of long ago. */
static shm2_producer *create(const char *name, uint64_t bytes, const char *caps, char why[SENTENCE])
{
	shm2_producer *producer;
	shm2_producer_options *options = shm2_producer_options_new();
	shm2_producer_options_set_arena(options, bytes);
	shm2_producer_options_set_history(options, 0);
	shm2_status status = shm2_producer_create(name, options, &producer);
	shm2_producer_options_free(options);
	if (status == SHM2_OK)
		status = shm2_producer_set_caps(producer, caps);
	if (status == SHM2_OK)
		return producer;
	fail(why);
	shm2_producer_free(producer);
	return NULL;
}

/* Bytes of a pixel at most; 8 is the largest number of all formats. */
static uint32_t pixel_bytes(enum video_format format)
{
	switch (format) {
	case VIDEO_FORMAT_I420:
	case VIDEO_FORMAT_NV12:
		return 2;
	case VIDEO_FORMAT_BGRA:
	case VIDEO_FORMAT_I444:
	case VIDEO_FORMAT_P010:
	case VIDEO_FORMAT_I010:
		return 4;
	default:
		return 8;
	}
}

bool publisher_open_video(struct publisher *publisher, const char *name, const struct video_output_info *info,
			  char why[SENTENCE])
{
	char caps[256];
	const char *format = video_format_name(info->format);
	if (!format) {
		snprintf(why, SENTENCE, "a region cannot have OBS's format %s: choose another one for the output",
			 get_video_format_name(info->format));
		return false;
	}
	snprintf(caps, sizeof caps,
		 "video/x-raw,format=%s,width=%" PRIu32 ",height=%" PRIu32 ",framerate=%" PRIu32 "/%" PRIu32
		 ",pixel-aspect-ratio=1/1,interlace-mode=progressive,colorimetry=%s",
		 format, info->width, info->height, info->fps_num, info->fps_den,
		 video_colorimetry(info->format, info->colorspace, info->range));
	uint64_t bytes = (uint64_t)info->width * info->height * pixel_bytes(info->format) * FRAMES;
	publisher->video = create(name, bytes > LEAST_BYTES ? bytes : LEAST_BYTES, caps, why);
	return publisher->video != NULL;
}

bool publisher_open_audio(struct publisher *publisher, const char *name, uint32_t rate, enum speaker_layout speakers,
			  char why[SENTENCE])
{
	static const unsigned MASKS[] = {0, 0x4, 0x3, 0xb, 0x107, 0x10f, 0x3f, 0, 0xc3f};
	char caps[256], mask[64] = "";
	uint32_t channels = get_audio_channels(speakers);
	if (channels > 1 && channels < sizeof MASKS / sizeof *MASKS)
		snprintf(mask, sizeof mask, ",channel-mask=(bitmask)0x%x", MASKS[channels]);
	snprintf(caps, sizeof caps,
		 "audio/x-raw,format=F32LE,layout=interleaved,rate=%" PRIu32 ",channels=%" PRIu32 "%s", rate, channels,
		 mask);
	publisher->channels = channels;
	publisher->audio = create(name, AUDIO_BYTES, caps, why);
	return publisher->audio != NULL;
}

/* The lock keeps a region in place while a thread publishes into it. */
static void close_region(struct publisher *publisher, shm2_producer **producer)
{
	pthread_mutex_lock(&publisher->lock);
	shm2_producer *old = *producer;
	*producer = NULL;
	pthread_mutex_unlock(&publisher->lock);
	if (old)
		shm2_producer_free(old);
}

void publisher_close_video(struct publisher *publisher)
{
	close_region(publisher, &publisher->video);
}

void publisher_close_audio(struct publisher *publisher)
{
	close_region(publisher, &publisher->audio);
}

static bool is_read(const shm2_producer *producer)
{
	size_t consumers = 0;
	bool snapshots = false;
	shm2_producer_consumers(producer, &consumers);
	shm2_producer_has_snapshots(producer, &snapshots);
	return consumers > 0 || snapshots;
}

bool publisher_video_is_read(const struct publisher *publisher)
{
	return publisher->video && is_read(publisher->video);
}

/* Memory for a frame. False when the region cannot be used any more; without memory the frame is dropped. */
static bool reserve(shm2_producer *producer, size_t bytes, shm2_slot **slot, char why[SENTENCE])
{
	*slot = NULL;
	if (shm2_producer_check(producer) != SHM2_OK)
		return fail(why);
	if (!is_read(producer))
		return true;
	shm2_status status = shm2_producer_reserve(producer, bytes, slot);
	return status == SHM2_OK || shm2_is_drop(status) || fail(why);
}

static bool publish(struct publisher *publisher, shm2_producer *producer, shm2_slot *slot, uint64_t time,
		    char why[SENTENCE])
{
	shm2_slot_set_time(slot, time);
	shm2_slot_set_pts(slot, time - publisher->begin);
	shm2_status status = shm2_producer_publish(producer, slot, NULL);
	return status == SHM2_OK || shm2_is_drop(status) || fail(why);
}

static bool copy_planes(shm2_slot *slot, uint8_t *const data[], const uint32_t linesize[])
{
	shm2_plane plane;
	for (uint32_t i = 0; i < MAX_AV_PLANES && shm2_slot_plane(slot, i, &plane, sizeof plane) == SHM2_OK; i++) {
		uint8_t *to = (uint8_t *)shm2_slot_data(slot) + plane.offset;
		if (!data[i] || linesize[i] < plane.row_bytes)
			return false;
		if (linesize[i] == plane.stride) {
			/* The last row may end before its padding. */
			memcpy(to, data[i], (size_t)(plane.stride * (plane.rows - 1) + plane.row_bytes));
			continue;
		}
		for (uint32_t row = 0; row < plane.rows; row++)
			memcpy(to + row * plane.stride, data[i] + (size_t)row * linesize[i], (size_t)plane.row_bytes);
	}
	return true;
}

static bool send_video(struct publisher *publisher, uint8_t *const data[], const uint32_t linesize[], uint64_t time,
		       char why[SENTENCE])
{
	size_t bytes;
	shm2_slot *slot;
	if (shm2_producer_frame_size(publisher->video, &bytes) != SHM2_OK)
		return fail(why);
	if (!reserve(publisher->video, bytes, &slot, why))
		return false;
	if (!slot)
		return true;
	if (!copy_planes(slot, data, linesize)) {
		shm2_slot_free(slot);
		snprintf(why, SENTENCE, "OBS gave a picture that is smaller than its size");
		return false;
	}
	return publish(publisher, publisher->video, slot, time, why);
}

static bool send_audio(struct publisher *publisher, uint8_t *const data[], uint32_t frames, uint64_t time,
		       char why[SENTENCE])
{
	uint32_t channels = publisher->channels;
	shm2_slot *slot;
	if (!reserve(publisher->audio, (size_t)frames * channels * sizeof(float), &slot, why))
		return false;
	if (!slot)
		return true;
	float *to = shm2_slot_data(slot);
	for (uint32_t channel = 0; channel < channels; channel++) {
		const float *from = (const float *)data[channel];
		for (uint32_t i = 0; i < frames; i++)
			to[(size_t)i * channels + channel] = from ? from[i] : 0.0f;
	}
	return publish(publisher, publisher->audio, slot, time, why);
}

bool publisher_video(struct publisher *publisher, uint8_t *const data[], const uint32_t linesize[], uint64_t time,
		     char why[SENTENCE])
{
	pthread_mutex_lock(&publisher->lock);
	bool is_fine = !wants(publisher, publisher->video, time) || send_video(publisher, data, linesize, time, why);
	pthread_mutex_unlock(&publisher->lock);
	return is_fine;
}

bool publisher_audio(struct publisher *publisher, uint8_t *const data[], uint32_t frames, uint64_t time,
		     char why[SENTENCE])
{
	pthread_mutex_lock(&publisher->lock);
	bool is_fine =
	    !wants(publisher, publisher->audio, time) || frames == 0 || send_audio(publisher, data, frames, time, why);
	pthread_mutex_unlock(&publisher->lock);
	return is_fine;
}
