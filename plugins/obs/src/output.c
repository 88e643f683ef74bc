/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The output: the programme into a region of video and one of audio. */
#include "obs-shm2.h"

struct output {
	obs_output_t *output;
	/* Of the names and of the start and stop of the regions. */
	pthread_mutex_t lock;
	char *video_name;
	char *audio_name;
	enum video_format format;
	struct publisher publisher;
	struct status status;
	volatile bool is_failed;
};

static const char *get_name(void *type_data)
{
	UNUSED_PARAMETER(type_data);
	return T("Output");
}

static enum video_format format_of(const char *name)
{
	if (strcmp(name, "BGRA") == 0)
		return VIDEO_FORMAT_BGRA;
	if (strcmp(name, "NV12") == 0)
		return VIDEO_FORMAT_NV12;
	return strcmp(name, "I420") == 0 ? VIDEO_FORMAT_I420 : VIDEO_FORMAT_NONE;
}

/* Of a running output the settings are those of its next start. */
static void update(void *data, obs_data_t *settings)
{
	struct output *it = data;
	pthread_mutex_lock(&it->lock);
	bfree(it->video_name);
	bfree(it->audio_name);
	it->video_name = bstrdup(obs_data_get_string(settings, OUTPUT_VIDEO));
	it->audio_name = bstrdup(obs_data_get_string(settings, OUTPUT_AUDIO));
	it->format = format_of(obs_data_get_string(settings, OUTPUT_FORMAT));
	pthread_mutex_unlock(&it->lock);
}

static void *create(obs_data_t *settings, obs_output_t *output)
{
	struct output *it = bzalloc(sizeof *it);
	it->output = output;
	pthread_mutex_init(&it->lock, NULL);
	publisher_init(&it->publisher);
	status_init(&it->status, 0);
	update(it, settings);
	return it;
}

static void close_regions(struct output *it)
{
	publisher_close_video(&it->publisher);
	publisher_close_audio(&it->publisher);
}

static void destroy(void *data)
{
	struct output *it = data;
	publisher_free(&it->publisher);
	status_free(&it->status);
	pthread_mutex_destroy(&it->lock);
	bfree(it->video_name);
	bfree(it->audio_name);
	bfree(it);
}

static bool fail(struct output *it, const char *why)
{
	status_set(&it->status, true, obs_output_get_name(it->output), "%s", why);
	obs_output_set_last_error(it->output, why);
	return false;
}

/* What the region's pictures are: as OBS makes them, or converted by OBS. */
static struct video_output_info picture_info(struct output *it)
{
	struct video_output_info info = *video_output_get_info(obs_output_video(it->output));
	if (it->format != VIDEO_FORMAT_NONE && it->format != info.format) {
		info.format = it->format;
		if (!format_is_yuv(it->format))
			info.range = VIDEO_RANGE_FULL;
	}
	/* Also without a difference: OBS keeps the one of the last start. */
	struct video_scale_info conversion = {.format = info.format,
					      .width = info.width,
					      .height = info.height,
					      .range = info.range,
					      .colorspace = info.colorspace};
	obs_output_set_video_conversion(it->output, &conversion);
	return info;
}

static bool open_regions(struct output *it, char why[SENTENCE])
{
	const struct audio_output_info *sound = audio_output_get_info(obs_output_audio(it->output));
	struct video_output_info info = picture_info(it);
	publisher_begin(&it->publisher);
	if (!*it->video_name && !*it->audio_name) {
		snprintf(why, SENTENCE, "the output has no region: give it a name, such as /dev/shm/programme");
		return false;
	}
	if (*it->video_name && !publisher_open_video(&it->publisher, it->video_name, &info, why))
		return false;
	return !*it->audio_name ||
	       publisher_open_audio(&it->publisher, it->audio_name, sound->samples_per_sec, sound->speakers, why);
}

static bool start(void *data)
{
	struct output *it = data;
	char why[SENTENCE] = "";
	obs_output_set_last_error(it->output, NULL);
	/* For a moment after a stop, until a thread of OBS has ended it. */
	if (obs_output_active(it->output))
		return fail(it, "the output has not ended yet: start it again");
	/* OBS makes new ones when its settings change, and an output keeps those of its creation, which are freed. */
	obs_output_set_media(it->output, obs_get_video(), obs_get_audio());
	if (!obs_output_can_begin_data_capture(it->output, 0))
		return fail(it, "OBS has no video or audio now: see its settings");
	pthread_mutex_lock(&it->lock);
	bool is_open = open_regions(it, why);
	if (!is_open)
		close_regions(it);
	os_atomic_set_bool(&it->is_failed, false);
	if (is_open)
		status_set(&it->status, false, obs_output_get_name(it->output),
			   "publishes video to \"%s\", audio to \"%s\"", it->video_name, it->audio_name);
	pthread_mutex_unlock(&it->lock);
	if (!is_open)
		return fail(it, why);
	if (obs_output_begin_data_capture(it->output, 0))
		return true;
	close_regions(it);
	return fail(it, "OBS refused to start the output: its log tells why");
}

static void stop(void *data, uint64_t time)
{
	struct output *it = data;
	UNUSED_PARAMETER(time);
	obs_output_end_data_capture(it->output);
	close_regions(it);
	if (!os_atomic_load_bool(&it->is_failed))
		status_set(&it->status, false, obs_output_get_name(it->output), "stopped");
}

/* A region that another process truncated or took over: the output ends, with its reason. */
static void give_up(struct output *it, const char *why)
{
	if (os_atomic_set_bool(&it->is_failed, true))
		return;
	fail(it, why);
	close_regions(it);
	obs_output_signal_stop(it->output, OBS_OUTPUT_ERROR);
}

static void raw_video(void *data, struct video_data *frame)
{
	struct output *it = data;
	char why[SENTENCE] = "";
	if (!publisher_video(&it->publisher, frame->data, frame->linesize, frame->timestamp, why))
		give_up(it, why);
}

static void raw_audio(void *data, struct audio_data *frame)
{
	struct output *it = data;
	char why[SENTENCE] = "";
	if (!publisher_audio(&it->publisher, frame->data, frame->frames, frame->timestamp, why))
		give_up(it, why);
}

static void get_defaults(obs_data_t *settings)
{
	obs_data_set_default_string(settings, OUTPUT_VIDEO, "/dev/shm/obs");
	obs_data_set_default_string(settings, OUTPUT_AUDIO, "/dev/shm/obs-audio");
	obs_data_set_default_string(settings, OUTPUT_FORMAT, "obs");
}

static void add_format(obs_properties_t *properties)
{
	obs_property_t *list = obs_properties_add_list(properties, OUTPUT_FORMAT, T("Format"), OBS_COMBO_TYPE_LIST,
						       OBS_COMBO_FORMAT_STRING);
	obs_property_list_add_string(list, T("AsObs"), "obs");
	obs_property_list_add_string(list, "BGRA", "BGRA");
	obs_property_list_add_string(list, "NV12", "NV12");
	obs_property_list_add_string(list, "I420", "I420");
}

static obs_properties_t *get_properties(void *data)
{
	UNUSED_PARAMETER(data);
	obs_properties_t *properties = obs_properties_create();
	obs_properties_add_text(properties, OUTPUT_VIDEO, T("VideoRegion"), OBS_TEXT_DEFAULT);
	obs_properties_add_text(properties, OUTPUT_AUDIO, T("AudioRegion"), OBS_TEXT_DEFAULT);
	add_format(properties);
	return properties;
}

struct obs_output_info output_info = {
    .id = OUTPUT_ID,
    .flags = OBS_OUTPUT_AV,
    .get_name = get_name,
    .create = create,
    .destroy = destroy,
    .update = update,
    .start = start,
    .stop = stop,
    .raw_video = raw_video,
    .raw_audio = raw_audio,
    .get_defaults = get_defaults,
    .get_properties = get_properties,
};
