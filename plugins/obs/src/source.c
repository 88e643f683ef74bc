/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The source: video of one region, audio of another, or one of them. */
#include "obs-shm2.h"

#define VIDEO "video_region"
#define AUDIO "audio_region"
#define GONE "when_gone"
#define READ "read_while"
#define BUFFERED "buffered"
/* Frames that alternate log their sentences that often. */
#define AGAIN_NS 1000000000

enum read_while { READ_SHOWN, READ_ACTIVE, READ_ALWAYS };

struct source {
	obs_source_t *source;
	/* Of settings and of readers; calls of readers do not take it. */
	pthread_mutex_t lock;
	char *video_name;
	char *audio_name;
	enum read_while read_while;
	bool is_shown;
	bool is_active;
	struct reader *video;
	struct reader *audio;
	/* Read by the readers' threads. */
	volatile bool keeps_picture;
	/* Of the picture that is shown, by the video's thread alone. */
	enum video_format format;
	uint32_t width, height;
	struct scratch scratch;
	struct status video_status;
	struct status audio_status;
};

static bool take_picture(void *data, const shm2_frame *frame, uint64_t time, char why[SENTENCE])
{
	struct source *it = data;
	struct obs_source_frame2 picture;
	if (!video_from_frame(frame, &picture, &it->scratch, why)) {
		it->width = 0;
		return false;
	}
	picture.timestamp = time;
	if (picture.width != it->width || picture.height != it->height || picture.format != it->format) {
		it->width = picture.width;
		it->height = picture.height;
		it->format = picture.format;
		status_set(&it->video_status, false, obs_source_get_name(it->source), "shows %ux%u %s", picture.width,
			   picture.height, video_format_name(picture.format));
	}
	/* OBS copies it. */
	obs_source_output_video2(it->source, &picture);
	return true;
}

static void video_gone(void *data)
{
	struct source *it = data;
	it->width = 0;
	if (!os_atomic_load_bool(&it->keeps_picture))
		obs_source_output_video2(it->source, NULL);
}

static bool take_sound(void *data, const shm2_frame *frame, uint64_t time, char why[SENTENCE])
{
	struct source *it = data;
	struct obs_source_audio sound;
	if (!audio_from_frame(frame, &sound, why))
		return false;
	sound.timestamp = time;
	if (sound.frames)
		obs_source_output_audio(it->source, &sound);
	status_set(&it->audio_status, false, obs_source_get_name(it->source), "plays %u Hz, %u channels",
		   sound.samples_per_sec, get_audio_channels(sound.speakers));
	return true;
}

static void audio_gone(void *data)
{
	UNUSED_PARAMETER(data);
}

static bool is_set(const char *name)
{
	return name && *name;
}

/* Starts or ends the readers, as visibility and settings tell. The lock is held. */
static void apply(struct source *it)
{
	bool reads = it->read_while == READ_ALWAYS || (it->read_while == READ_ACTIVE ? it->is_active : it->is_shown);
	if (!reads) {
		reader_stop(it->video);
		reader_stop(it->audio);
		if (it->video && !os_atomic_load_bool(&it->keeps_picture))
			obs_source_output_video2(it->source, NULL);
		it->video = it->audio = NULL;
		return;
	}
	if (!it->video && is_set(it->video_name)) {
		struct reader_calls calls = {it, false, take_picture, video_gone, it->source, &it->video_status};
		it->width = 0;
		it->video = reader_start(it->video_name, &calls);
	}
	if (!it->audio && is_set(it->audio_name)) {
		struct reader_calls calls = {it, true, take_sound, audio_gone, it->source, &it->audio_status};
		it->audio = reader_start(it->audio_name, &calls);
	}
}

/* Takes a name over, and ends the reader of another one. True when it changed. */
static bool rename_region(char **name, struct reader **reader, const char *text)
{
	if (*name && strcmp(*name, text) == 0)
		return false;
	reader_stop(*reader);
	*reader = NULL;
	bfree(*name);
	*name = bstrdup(text);
	return true;
}

static void update(void *data, obs_data_t *settings)
{
	struct source *it = data;
	pthread_mutex_lock(&it->lock);
	os_atomic_set_bool(&it->keeps_picture, strcmp(obs_data_get_string(settings, GONE), "keep") == 0);
	const char *read = obs_data_get_string(settings, READ);
	it->read_while = strcmp(read, "always") == 0   ? READ_ALWAYS
			 : strcmp(read, "active") == 0 ? READ_ACTIVE
						       : READ_SHOWN;
	/* Pictures that OBS buffers come 40 to 190 ms later than sound, others within a frame. Decoupled it plays sound
	 * that is late when it comes, as it shows pictures, and not at its time. */
	bool is_buffered = obs_data_get_bool(settings, BUFFERED);
	if (obs_source_async_unbuffered(it->source) == is_buffered) {
		obs_source_set_async_unbuffered(it->source, !is_buffered);
		/* This drops the sound that OBS has already. */
		obs_source_set_async_decoupled(it->source, !is_buffered);
	}
	if (rename_region(&it->video_name, &it->video, obs_data_get_string(settings, VIDEO)))
		obs_source_output_video2(it->source, NULL);
	rename_region(&it->audio_name, &it->audio, obs_data_get_string(settings, AUDIO));
	apply(it);
	pthread_mutex_unlock(&it->lock);
}

static void *create(obs_data_t *settings, obs_source_t *source)
{
	struct source *it = bzalloc(sizeof *it);
	it->source = source;
	pthread_mutex_init(&it->lock, NULL);
	status_init(&it->video_status, AGAIN_NS);
	status_init(&it->audio_status, AGAIN_NS);
	update(it, settings);
	return it;
}

static void destroy(void *data)
{
	struct source *it = data;
	reader_stop(it->video);
	reader_stop(it->audio);
	scratch_free(&it->scratch);
	status_free(&it->video_status);
	status_free(&it->audio_status);
	pthread_mutex_destroy(&it->lock);
	bfree(it->video_name);
	bfree(it->audio_name);
	bfree(it);
}

static void set_flag(struct source *it, bool *flag, bool value)
{
	pthread_mutex_lock(&it->lock);
	*flag = value;
	apply(it);
	pthread_mutex_unlock(&it->lock);
}

static void show(void *data)
{
	struct source *it = data;
	set_flag(it, &it->is_shown, true);
}

static void hide(void *data)
{
	struct source *it = data;
	set_flag(it, &it->is_shown, false);
}

static void activate(void *data)
{
	struct source *it = data;
	set_flag(it, &it->is_active, true);
}

static void deactivate(void *data)
{
	struct source *it = data;
	set_flag(it, &it->is_active, false);
}

static const char *get_name(void *type_data)
{
	UNUSED_PARAMETER(type_data);
	return T("Source");
}

static void get_defaults(obs_data_t *settings)
{
	obs_data_set_default_string(settings, VIDEO, "");
	obs_data_set_default_string(settings, AUDIO, "");
	obs_data_set_default_string(settings, GONE, "nothing");
	obs_data_set_default_string(settings, READ, "shown");
	obs_data_set_default_bool(settings, BUFFERED, false);
}

static obs_property_t *add_choice(obs_properties_t *properties, const char *setting, const char *label)
{
	return obs_properties_add_list(properties, setting, label, OBS_COMBO_TYPE_LIST, OBS_COMBO_FORMAT_STRING);
}

static obs_properties_t *get_properties(void *data)
{
	struct source *it = data;
	obs_properties_t *properties = obs_properties_create();
	regions_add_list(properties, VIDEO, T("VideoRegion"), "video/x-raw");
	regions_add_list(properties, AUDIO, T("AudioRegion"), "audio/x-raw");
	if (it) {
		status_show(&it->video_status, "video_status", properties);
		status_show(&it->audio_status, "audio_status", properties);
	}
	regions_add_overview(properties);
	obs_property_t *gone = add_choice(properties, GONE, T("WhenGone"));
	obs_property_list_add_string(gone, T("ShowNothing"), "nothing");
	obs_property_list_add_string(gone, T("KeepPicture"), "keep");
	obs_property_t *read = add_choice(properties, READ, T("ReadWhile"));
	obs_property_list_add_string(read, T("WhileShown"), "shown");
	obs_property_list_add_string(read, T("WhileActive"), "active");
	obs_property_list_add_string(read, T("Always"), "always");
	obs_properties_add_bool(properties, BUFFERED, T("Buffered"));
	return properties;
}

struct obs_source_info source_info = {
    .id = "shm2_source",
    .type = OBS_SOURCE_TYPE_INPUT,
    .output_flags = OBS_SOURCE_ASYNC_VIDEO | OBS_SOURCE_AUDIO,
    .icon_type = OBS_ICON_TYPE_CAMERA,
    .get_name = get_name,
    .create = create,
    .destroy = destroy,
    .update = update,
    .get_defaults = get_defaults,
    .get_properties = get_properties,
    .show = show,
    .hide = hide,
    .activate = activate,
    .deactivate = deactivate,
};
