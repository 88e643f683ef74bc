/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What the files of the plugin share. */
#ifndef OBS_SHM2_H
#define OBS_SHM2_H

#include <obs-module.h>
#include <shm2.h>
#include <util/dstr.h>
#include <util/threading.h>

#define T(key) obs_module_text(key)
#define SENTENCE 512
#define LOGGED 8

/* ---- plugin.c: sentences for people ---- */

/* When OBS loaded the plugin. Presentation times of all filters count from here, so that those of one source agree. */
extern uint64_t module_begin;

/* The newest sentence about the state of something: written by any thread, shown in its properties. */
struct status {
	pthread_mutex_t lock;
	char text[SENTENCE];
	/* Whether `text` is an error. */
	bool is_error;
	/* A sentence is not logged again before that. */
	uint64_t again_ns;
	/* The last sentences in the log, and when they were written there; the next one replaces `next_logged`. */
	struct {
		uint64_t hash, time;
	} logged[LOGGED];
	size_t next_logged;
};

/* `again_ns` is 0 where sentences follow what people do, and not each frame. */
void status_init(struct status *status, uint64_t again_ns);
void status_free(struct status *status);
/* Stores a sentence, and writes it to OBS's log unless it is the stored one, or was written just before. */
void status_set(struct status *status, bool is_error, const char *who, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Shows it as the property `name`. */
void status_show(struct status *status, const char *name, obs_properties_t *properties);

/* Whether a frame is raw video, or raw audio. Otherwise `why` says what it is, and what to do. */
bool frame_is_raw(const shm2_frame *frame, shm2_media_kind kind, char why[SENTENCE]);

/* ---- video.c: pictures ---- */

/* Memory for planes that OBS cannot read in place; zeros at first. */
struct scratch {
	uint8_t *planes[MAX_AV_PLANES];
};

void scratch_free(struct scratch *scratch);
/* Describes a frame of a region as OBS takes it. False when OBS cannot show it: `why` then has one sentence. */
bool video_from_frame(const shm2_frame *frame, struct obs_source_frame2 *picture, struct scratch *scratch,
		      char why[SENTENCE]);

/* GStreamer's name of a format of OBS; NULL if a region cannot have it. */
const char *video_format_name(enum video_format format);
/* GStreamer's text for the colours of a format. */
const char *video_colorimetry(enum video_format format, enum video_colorspace space, enum video_range_type range);

/* ---- audio.c: sound ---- */

/* As video_from_frame(). */
bool audio_from_frame(const shm2_frame *frame, struct obs_source_audio *sound, char why[SENTENCE]);

/* ---- regions.c: which regions there are ---- */

/* Adds an editable list of the live regions whose caps begin with `kind`, such as "video/x-raw". */
void regions_add_list(obs_properties_t *properties, const char *setting, const char *label, const char *kind);
/* Adds a button that reads the list `setting` and the others again, and the descriptions of all regions. */
void regions_add_overview(obs_properties_t *properties);

/* ---- reader.c: a thread that reads a region ---- */

struct reader;

struct reader_calls {
	void *data;
	/* Sound is read without a gap, but not late; of pictures the newest are read, however old. */
	bool is_sound;
	/* Takes a frame with its time on OBS's clock. False: `why` has one sentence, which is logged once. */
	bool (*frame)(void *data, const shm2_frame *frame, uint64_t time, char why[SENTENCE]);
	/* The producer is gone, or its stream has ended. */
	void (*gone)(void *data);
	/* Whose name is in messages, and where they go. */
	obs_source_t *source;
	struct status *status;
};

/* Starts to read. NULL, with a sentence in the status, when the name is not valid. */
struct reader *reader_start(const char *name, const struct reader_calls *calls);
/* Stops, and waits for the thread. */
void reader_stop(struct reader *reader);

/* ---- publisher.c: regions of a programme ---- */

/* A region of video and one of audio. It is used by one thread for video and one for audio. */
struct publisher {
	shm2_producer *video;
	shm2_producer *audio;
	uint32_t channels;
	/* From here presentation times count. */
	uint64_t begin;
	pthread_mutex_t lock;
};

void publisher_init(struct publisher *publisher);
void publisher_free(struct publisher *publisher);
/* Presentation times of both regions count from now. */
void publisher_begin(struct publisher *publisher);
/* Makes the region `name` for pictures. Errors: one sentence in `why`. */
bool publisher_open_video(struct publisher *publisher, const char *name, const struct video_output_info *info,
			  char why[SENTENCE]);
/* Makes the region `name` for sound, in 32-bit samples side by side. */
bool publisher_open_audio(struct publisher *publisher, const char *name, uint32_t rate, enum speaker_layout speakers,
			  char why[SENTENCE]);
void publisher_close_video(struct publisher *publisher);
void publisher_close_audio(struct publisher *publisher);
/* Whether somebody reads the region of video. */
bool publisher_video_is_read(const struct publisher *publisher);
/* Publishes a picture, if somebody reads the region. False when the region cannot be used any more. */
bool publisher_video(struct publisher *publisher, uint8_t *const data[], const uint32_t linesize[], uint64_t time,
		     char why[SENTENCE]);
/* Publishes planes of 32-bit samples. */
bool publisher_audio(struct publisher *publisher, uint8_t *const data[], uint32_t frames, uint64_t time,
		     char why[SENTENCE]);

/* ---- what the plugin adds to OBS ---- */

#define OUTPUT_ID "shm2_output"
#define OUTPUT_VIDEO "video_region"
#define OUTPUT_AUDIO "audio_region"
#define OUTPUT_FORMAT "format"

extern struct obs_source_info source_info;
extern struct obs_source_info video_filter_info;
extern struct obs_source_info audio_filter_info;
extern struct obs_output_info output_info;

/* menu.c: the output as an entry of the menu Tools. */
void menu_load(void);
void menu_unload(void);

#endif
